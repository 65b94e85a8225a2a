/** Turns over a real WebSocket against the built server: prompts, streams, the queue, steering, order. */
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { PRIVATE } from '../support/blackbox-server.js';
import { type Service, startService } from '../support/service.js';
import { Watchers } from '../support/ws-watchers.js';

let upstream: Upstream;
let server: Service;
const watchers = new Watchers(() => server.wsUrl);

beforeAll(async () => {
  upstream = await startUpstream();
  server = await startService({ upstream });
});

afterEach(async () => {
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await upstream.close();
});

describe('a prompt', () => {
  it('streams its answer as deltas and ends with one whole message', async () => {
    upstream.script([textReply(`The ${PRIVATE} turns towards the sun all day`)]);
    const client = await watchers.connect();
    const sessionId = await client.openSession({ title: 'Flowers' });
    const { result, applied_at_seq } = await client.prompt(sessionId, `What does a ${PRIVATE} do?`);
    const { turn_id: turnId, message_id, position } = result;
    expect(position).toBe(0);
    const ended = await client.event('turn.ended', { turnId });
    await client.event('session.status_idle');
    const types = client.events(sessionId).map((event) => event.type);
    expect(types.filter((type) => type !== 'event_delta')).toEqual([
      'user.message',
      'turn.started',
      'session.status_running',
      'span.model_request_start',
      'event_start',
      'agent.message',
      'span.model_request_end',
      'turn.ended',
      'session.status_idle',
    ]);
    expect(types.filter((type) => type === 'event_delta').length).toBeGreaterThan(3);
    const [echo] = client.events(sessionId);
    expect(echo).toMatchObject({ id: message_id, seq: applied_at_seq, actor: { user_id: 'local' } });
    const message = await client.event('agent.message', { turnId });
    expect(message).toMatchObject({ status: 'complete', content: [{ type: 'text' }] });
    expect(watchers.textOf(client, turnId)).toBe(`The ${PRIVATE} turns towards the sun all day`);
    expect(ended).toMatchObject({ stop_reason: 'end_turn', partial: false, estimated: false });
    expect(ended.usage.output_tokens).toBeGreaterThan(0);
    expect(ended.cost_usd).toBeGreaterThan(0);
  });

  it('sends what was said before along, with the agent’s system prompt', async () => {
    upstream.script([textReply('Violet.'), textReply('Peru.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession({ agent: { system: 'You know flowers.', max_tokens: 77 } });
    await watchers.turn(client, sessionId, `Which colour has a ${PRIVATE}?`);
    await watchers.turn(client, sessionId, 'Where is it from?', { max_tokens: 55, tags: ['botany'] });
    const last = upstream.requests.at(-1)?.body;
    expect(last).toMatchObject({
      max_tokens: 55,
      messages: [
        { role: 'user', content: [{ type: 'text', text: `Which colour has a ${PRIVATE}?` }] },
        { role: 'assistant', content: [{ type: 'text', text: 'Violet.' }] },
        { role: 'user', content: [{ type: 'text', text: 'Where is it from?' }] },
      ],
    });
    expect(JSON.stringify(last?.['system'])).toContain('You know flowers.');
  });

  it('[LOG-1] [LOG-3] shows every watcher the same order, with and without deltas', async () => {
    const words = Array.from({ length: 120 }, (_, n) => ` word${n}`);
    upstream.script([{ blocks: [{ type: 'text', text: words.join(''), chunks: words }], packing: { splitSeed: 7 } }]);
    const [first, second, plain] = await watchers.connectMany(3);
    const sessionId = await first.openSession();
    await second.attach(sessionId);
    await plain.attach(sessionId, { deltas: false });
    const { result } = await second.prompt(sessionId, `Count, ${PRIVATE}.`);
    await Promise.all([first, second, plain].map((client) => client.event('session.status_idle', { sessionId })));
    const seen = first.events(sessionId);
    const completed = seen.filter((event) => event.type !== 'event_delta' && event.type !== 'event_start');
    const withoutGap = (events: typeof seen) => events.map(({ prev_seq: _, ...event }) => event);
    expect(withoutGap(plain.events(sessionId))).toEqual(withoutGap(completed));
    expect(withoutGap(second.events(sessionId).filter((e) => e.type !== 'event_delta'))).toEqual(
      withoutGap(seen.filter((e) => e.type !== 'event_delta')),
    );
    for (const client of [first, second]) expect(watchers.textOf(client, result.turn_id)).toBe(words.join(''));
  });

  it('[TURN-4] keeps what was produced when its deadline passes', async () => {
    const reply = manualReply();
    upstream.script([reply, textReply('Afterwards.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, `Be slow, ${PRIVATE}.`, { deadline_ms: 300 });
    await reply.start();
    reply.openText();
    reply.text('Half of an ');
    const ended = await client.event('turn.ended', { turnId: result.turn_id });
    expect(ended).toMatchObject({ stop_reason: 'deadline', partial: true, estimated: true });
    expect(ended.error).toBeUndefined();
    expect((await reply.closed).by).toBe('client');
    expect(await client.event('agent.message', { turnId: result.turn_id })).toMatchObject({
      status: 'incomplete',
      content: [{ type: 'text', text: 'Half of an ' }],
    });
    await watchers.turn(client, sessionId, 'Go on.');
    expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).toContain('Half of an ');
  });

  it('ends with max_tokens where the model did', async () => {
    upstream.script([{ ...textReply('Cut sho'), stop_reason: 'max_tokens' }]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    expect(await watchers.turn(client, sessionId, PRIVATE)).toMatchObject({
      stop_reason: 'max_tokens',
      partial: false,
    });
  });

  it('[TURN-3] gives thinking back with its signature, and only to the model that made it', async () => {
    const thought = { type: 'thinking', thinking: 'Let me see.', signature: 'c2lnbmVk' } as const;
    upstream.script([
      { blocks: [thought, { type: 'text', text: 'Seen.' }] },
      textReply('Again.'),
      textReply('By another.'),
    ]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { turn_id: turnId } = await watchers.turn(client, sessionId, `Think, ${PRIVATE}.`);
    expect(await client.event('agent.thinking', { turnId })).toMatchObject({
      thinking: 'Let me see.',
      signature: 'c2lnbmVk',
    });
    await watchers.turn(client, sessionId, 'Once more.');
    expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).toContain('c2lnbmVk');
    await watchers.turn(client, sessionId, 'And you?', { model: 'claude-haiku-5-5' });
    expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).not.toContain('c2lnbmVk');
  });
});

describe('a busy session', () => {
  async function busy() {
    const reply = manualReply();
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const after: string[] = [];
    let isFirst = true;
    upstream.script((request) => {
      if (isFirst) {
        isFirst = false;
        return reply;
      }
      const said = JSON.stringify((request.body['messages'] as unknown[]).at(-1));
      after.push(said);
      return textReply(`Answer ${after.length}.`);
    });
    const { result } = await client.prompt(sessionId, `The first, ${PRIVATE}.`);
    await reply.start();
    reply.openText();
    reply.text('Working');
    await client.event('event_delta', { turnId: result.turn_id });
    const finish = (): void => {
      reply.closeBlock();
      reply.finish();
    };
    return { client, sessionId, turnId: result.turn_id as string, reply, finish, after };
  }

  it('[TURN-2] queues by default, and tells how many turns are ahead', async () => {
    const { client, sessionId, finish, after } = await busy();
    const second = await client.prompt(sessionId, 'The second.');
    const third = await client.prompt(sessionId, 'The third.', { on_busy: 'queue' });
    expect([second.result.position, third.result.position]).toEqual([1, 2]);
    finish();
    await client.event('turn.ended', { turnId: third.result.turn_id });
    expect(after.map((text) => /The \w+/.exec(text)?.[0])).toEqual(['The second', 'The third']);
    const started = client.events(sessionId).filter((event) => event.type === 'turn.started');
    expect(started.map((event) => event.turn_id)).toEqual([
      started[0]?.turn_id,
      second.result.turn_id,
      third.result.turn_id,
    ]);
  });

  it('[TURN-2] refuses with busy where the sender said so', async () => {
    const { client, sessionId, finish, turnId } = await busy();
    const head = client.lastSeq(sessionId);
    const error = await client.refused({
      type: 'user.message',
      session_id: sessionId,
      content: 'Now?',
      on_busy: 'reject',
    });
    expect(error).toMatchObject({ code: 'busy', retryable: true });
    finish();
    await client.event('turn.ended', { turnId });
    const later = client.events(sessionId).filter((event) => event.seq > head);
    expect(later.some((event) => event.type === 'user.message')).toBe(false);
  });

  it('[TURN-2] interrupts, and starts ahead of the queue', async () => {
    const { client, sessionId, turnId, reply, after } = await busy();
    const queued = await client.prompt(sessionId, 'The queued.');
    const urgent = await client.prompt(sessionId, 'The urgent.', { on_busy: 'interrupt' });
    expect(urgent.result.position).toBe(0);
    expect((await reply.closed).by).toBe('client');
    expect(await client.event('turn.ended', { turnId })).toMatchObject({
      stop_reason: 'interrupted_by_message',
      partial: true,
    });
    await client.event('turn.ended', { turnId: queued.result.turn_id });
    expect(after.map((text) => /The \w+/.exec(text)?.[0])).toEqual(['The urgent', 'The queued']);
    expect(JSON.stringify(upstream.requests.at(-1)?.body['messages'])).toContain('Working');
  });

  it('[TURN-2] steers: the message joins the running turn, or follows it as a turn of its own', async () => {
    const { client, sessionId, turnId, finish, after } = await busy();
    const steer = await client.prompt(sessionId, 'The steering.', { on_busy: 'steer' });
    expect(steer.result.turn_id).toBe(turnId);
    finish();
    const queued = await client.event('turn.queued', { sessionId });
    expect(queued.steer_id).toBe(steer.result.message_id);
    await client.event('turn.ended', { turnId: queued.turn_id as string });
    expect(after).toEqual([expect.stringContaining('The steering.')]);
  });

  it('steers now: what was said stays as an incomplete message, and the turn goes on with the new words', async () => {
    const { client, sessionId, turnId, reply } = await busy();
    const { result } = await client.accepted({
      type: 'user.steer',
      session_id: sessionId,
      turn_id: turnId,
      content: 'Shorter, please.',
      apply: 'now',
    });
    expect(result).toMatchObject({ turn_id: turnId, outcome: 'joined' });
    expect((await reply.closed).by).toBe('client');
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
    const types = client.events(sessionId).map((event) => event.type);
    expect(types.indexOf('steer.joined')).toBeGreaterThan(types.indexOf('user.steer'));
    expect(await client.event('agent.message', { turnId })).toMatchObject({ status: 'incomplete' });
    expect(upstream.requests.at(-1)?.body['messages']).toMatchObject([
      { role: 'user' },
      { role: 'assistant', content: [{ type: 'text', text: 'Working' }] },
      { role: 'user', content: [{ type: 'text', text: 'Shorter, please.' }] },
    ]);
  });

  it('refuses to steer where nothing runs', async () => {
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const error = await client.refused({ type: 'user.steer', session_id: sessionId, content: 'Hello?' });
    expect(error.code).toBe('turn_not_active');
  });

  it('[LOG-4] shows a late watcher the running turn, its words so far and the queue, and goes on from there', async () => {
    const { client, sessionId, turnId, reply, finish } = await busy();
    const queued = await client.prompt(sessionId, 'The waiting.');
    const late = await watchers.connect();
    const { mode, snapshot } = await late.attach(sessionId);
    expect(mode).toBe('snapshot');
    expect(snapshot).toMatchObject({
      turn: { turn_id: turnId, status: 'streaming', step: 1 },
      queue: [{ turn_id: queued.result.turn_id, position: 1 }],
      partial: { content: [{ type: 'text', text: 'Working' }] },
    });
    reply.text(' hard');
    finish();
    await late.event('turn.ended', { turnId: queued.result.turn_id });
    expect(late.events(sessionId)[0]).toMatchObject({ type: 'event_delta', delta: { content: { text: ' hard' } } });
  });
});

describe('presence', () => {
  it('tells every watcher who is there, and who left', async () => {
    const [ada, ben] = await watchers.connectMany(2);
    const sessionId = await ada.openSession();
    await ben.attach(sessionId);
    await ben.accepted({ type: 'presence.update', session_id: sessionId, state: { typing: true } });
    const shown = await ada.waitFor('presence.changed');
    expect(shown).toMatchObject({
      members: [{ user_id: 'local', connection_id: ben.connectionId, state: { typing: true } }],
    });
    await ben.drop();
    const gone = await ada.waitFor((f) => f.type === 'presence.changed' && f.members.length === 0, 'nobody present');
    expect(gone).toMatchObject({ session_id: sessionId });
    expect(ada.lastSeq(sessionId)).toBe(0);
  });
});
