import { call, endTool, openText, reply, start, stream, text, thinking } from './support/replies.js';
import { ALICE, World } from './support/world.js';

const ended = (world: World) => world.of('turn.ended').map((e) => e.stop_reason);

describe('a turn', () => {
  it('[TURN-1] ends with exactly one turn.ended, and the session is idle', () => {
    const world = new World();
    world.say('Hi');
    reply(world, 'end_turn', text(0, 'Hel', 'lo'));
    expect(world.types()).toEqual([
      'user.message',
      'turn.started',
      'session.status_running',
      'span.model_request_start',
      'event_start',
      'event_delta',
      'event_delta',
      'agent.message',
      'span.model_request_end',
      'turn.ended',
      'session.status_idle',
    ]);
    expect(world.of('agent.message')[0]).toMatchObject({
      status: 'complete',
      content: [{ type: 'text', text: 'Hello' }],
    });
    expect(world.of('turn.ended')[0]).toMatchObject({ partial: false, usage: { input_tokens: 10, output_tokens: 7 } });
    world.checkLog();
  });

  it('goes on by steps until the model has no more calls, results in call order [TOOL-6]', () => {
    const world = new World();
    world.say('Find');
    reply(world, 'tool_use', call(0, 'search', { q: 'a' }, 'toolu_1'), call(1, 'send_mail', {}, 'toolu_2'));
    endTool(world, 'send_mail', 'second');
    expect(world.requests).toHaveLength(1);
    endTool(world, 'search', 'first');
    expect(world.request.messages.at(-1)).toEqual({
      role: 'user',
      content: [
        { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: 'first' }] },
        { type: 'tool_result', tool_use_id: 'toolu_2', content: [{ type: 'text', text: 'second' }] },
      ],
    });
    reply(world, 'end_turn', text(0, 'Done'));
    expect(ended(world)).toEqual(['end_turn']);
  });

  it('stops after max_steps', () => {
    const world = new World({ maxSteps: 2 });
    world.say('Loop');
    reply(world, 'tool_use', call(0, 'search'));
    endTool(world, 'search');
    reply(world, 'tool_use', call(0, 'search'));
    endTool(world, 'search');
    expect(world.of('turn.ended')[0]).toMatchObject({ stop_reason: 'max_steps', partial: true });
    world.checkHistory();
  });

  it('never runs a call that max_tokens cut', () => {
    const world = new World();
    world.say('Find');
    reply(world, 'max_tokens', call(0, 'search', '{"q":"a'));
    expect(world.effects.some((e) => e.type === 'run_tool')).toBe(false);
    expect(ended(world)).toEqual(['max_tokens']);
    world.checkHistory();
  });

  it('continues what the provider paused, sending the reply back as it came', () => {
    const world = new World();
    world.say('Search the web');
    const block = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: { q: 'x' } };
    reply(world, 'pause_turn', [
      { type: 'block_start', index: 0, block },
      { type: 'block_stop', index: 0 },
    ]);
    expect(world.request.messages.at(-1)).toEqual({ role: 'assistant', content: [block] });
    reply(world, 'end_turn', text(0, 'Found'));
    expect(ended(world)).toEqual(['end_turn']);
    world.checkHistory();
  });

  it('[TURN-3] sends thinking back with its signature, only to the model that made it', () => {
    const world = new World();
    world.say('Think');
    reply(world, 'end_turn', thinking(0, 'deep'), text(1, 'So'));
    world.say('Again');
    world.admit();
    const block = { type: 'thinking', thinking: 'deep', signature: 'sig of deep' };
    expect(world.request.messages[1]).toEqual({ role: 'assistant', content: [block, { type: 'text', text: 'So' }] });
    reply(world, 'end_turn', text(0, 'Yes'));
    world.say('With another', { model: 'other' });
    world.admit();
    expect(JSON.stringify(world.request.messages)).not.toContain('thinking');
  });

  it('[TURN-4] ends at its deadline with what it has, and waiting does not count', () => {
    const world = new World();
    world.say('Slow', { deadline_ms: 10_000 });
    stream(world, start, openText(0, 'half'));
    world.now += 10_000;
    world.input({ type: 'tick' });
    expect(world.of('turn.ended')[0]).toMatchObject({ stop_reason: 'deadline', partial: true });
    expect(world.of('turn.ended')[0]?.error).toBeUndefined();
    expect(world.of('agent.message')[0]).toMatchObject({ status: 'incomplete', content: [{ text: 'half' }] });
  });

  it('[TURN-5] does not replay a message whose turn failed before anything was produced', () => {
    const world = new World();
    world.say('Poison');
    world.admit();
    const failure = { code: 'upstream_refused' as const, message: 'image exceeds', retryable: false };
    world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
    expect(world.of('turn.ended')[0]).toMatchObject({
      stop_reason: 'error',
      error: { code: 'upstream_refused', message: 'image exceeds' },
    });
    world.say('Better');
    world.admit();
    expect(world.request.messages).toEqual([{ role: 'user', content: [{ type: 'text', text: 'Better' }] }]);
  });

  it('[TURN-5] a poison that was cancelled before the API saw it does not last', () => {
    const world = new World();
    world.say('Hi');
    reply(world, 'end_turn', text(0, 'Hello'));
    world.say('Poison');
    world.admit();
    world.interrupt();
    world.say('Next');
    world.admit();
    expect(JSON.stringify(world.request.messages)).toContain('Poison');
    const failure = { code: 'upstream_refused' as const, message: 'bad image', retryable: false };
    world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
    world.say('And now?');
    world.admit();
    expect(world.request.messages.map((m) => m.content.map((b) => b['text']))).toEqual([
      ['Hi'],
      ['Hello'],
      ['And now?'],
    ]);
  });

  it('a forced tool that went while the message was queued is left to the model', () => {
    const world = new World();
    const tools = [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } }];
    const command = { type: 'tools.register' as const, id: 'r', session_id: 'sesn_1', tools };
    world.input({ type: 'register', sender: ALICE, command });
    world.say('one');
    world.say('two', { tool_choice: { type: 'tool', name: 'edit_note' } });
    world.input({ type: 'connection_gone', connectionId: 'conn_alice' });
    reply(world, 'end_turn', text(0, 'a'));
    expect(world.request.toolChoice).toBeUndefined();
  });

  it('[TURN-5] replaces a tool result that the API refuses, once', () => {
    const world = new World();
    world.say('Find');
    reply(world, 'tool_use', call(0, 'search'));
    endTool(world, 'search', 'unacceptable');
    const refuse = () => {
      const failure = { code: 'upstream_refused' as const, message: 'bad content', retryable: false };
      world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
      world.input({ type: 'tick' });
      world.admit();
    };
    refuse();
    expect(world.request.key).toMatchObject({ step: 2, attempt: 2 });
    expect(JSON.stringify(world.request.messages)).not.toContain('unacceptable');
    expect(world.request.messages.at(-1)?.content[0]).toMatchObject({ type: 'tool_result', is_error: true });
    refuse();
    expect(ended(world)).toEqual(['error']);
    world.checkHistory();
  });

  it('[TURN-5] stays usable when the history no longer fits the window', () => {
    const world = new World();
    for (const word of ['one', 'two', 'three', 'four']) {
      world.say(word.repeat(100));
      reply(world, 'end_turn', text(0, word.repeat(100)));
    }
    const tooLong = { code: 'context_window_exceeded' as const, message: 'prompt is too long', retryable: false };
    world.say('short');
    world.admit();
    const before = world.request.messages.length;
    world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure: tooLong } });
    expect(ended(world).at(-1)).toBe('context_window_exceeded');
    world.say('again');
    world.admit();
    expect(world.request.messages.length).toBeLessThan(before);
    expect(world.request.messages.at(-1)?.content).toEqual([{ type: 'text', text: 'again' }]);
  });

  it('takes a refused exchange back', () => {
    const world = new World();
    world.say('Forbidden');
    reply(world, 'refusal', text(0, 'I ca'));
    expect(world.of('turn.ended')[0]).toMatchObject({ stop_reason: 'refusal', partial: false });
    world.say('Other');
    world.admit();
    expect(world.request.messages).toEqual([{ role: 'user', content: [{ type: 'text', text: 'Other' }] }]);
  });

  it('tries a failed request again only before anything was delivered', () => {
    const world = new World();
    const failure = { code: 'upstream_overloaded' as const, message: 'busy', retryable: true };
    world.say('Hi');
    world.admit();
    world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
    expect(world.of('session.error')[0]).toMatchObject({ error: { retry_status: { type: 'retrying' } } });
    world.now += 5_000;
    world.input({ type: 'tick' });
    stream(world, start, openText(0, 'some'));
    expect(world.request.key).toMatchObject({ step: 1, attempt: 2 });
    world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
    expect(ended(world)).toEqual(['error']);
    expect(world.of('agent.message')[0]).toMatchObject({ status: 'incomplete' });
    expect(world.of('span.model_request_end')[1]).toMatchObject({ is_error: true, estimated: true });
  });
});

describe('a busy session', () => {
  it('[TURN-2] queues, with positions, and goes on by itself', () => {
    const world = new World();
    world.say('first');
    world.admit();
    expect(world.say('second')).toMatchObject({ ok: true, result: { position: 1 } });
    expect(world.say('third')).toMatchObject({ ok: true, result: { position: 2 } });
    expect(world.of('turn.queued').map((e) => e.position)).toEqual([1, 2]);
    reply(world, 'end_turn', text(0, 'a'));
    reply(world, 'end_turn', text(0, 'b'));
    expect(world.request.messages.map((m) => m.content[0]?.['text'])).toEqual(['first', 'a', 'second', 'b', 'third']);
    expect(world.of('session.status_idle')).toHaveLength(0);
    reply(world, 'end_turn', text(0, 'c'));
    expect(world.of('session.status_idle')).toHaveLength(1);
  });

  it('[TURN-2] interrupts: the running turn ends, the message comes ahead of the queue', () => {
    const world = new World();
    world.say('first');
    stream(world, start, openText(0, 'par'));
    world.say('queued');
    world.say('urgent', { on_busy: 'interrupt' });
    world.admit();
    expect(ended(world)).toEqual(['interrupted_by_message']);
    expect(world.request.messages.at(-1)?.content[0]).toMatchObject({ text: 'urgent' });
    expect(world.state.queue.map((q) => q.content[0]?.['text'])).toEqual(['queued']);
  });

  it('[TURN-2] steers: the message joins the running turn behind its results', () => {
    const world = new World();
    world.say('first');
    reply(world, 'tool_use', call(0, 'search', {}, 'toolu_1'));
    expect(world.say('look there', { on_busy: 'steer' })).toMatchObject({
      ok: true,
      result: { turn_id: world.state.turn?.turnId },
    });
    endTool(world, 'search');
    expect(world.of('steer.joined')).toHaveLength(1);
    expect(world.request.messages.at(-1)?.content.map((b) => b.type)).toEqual(['tool_result', 'text']);
  });

  it('[TURN-2] rejects, and changes nothing [CMD-3]', () => {
    const world = new World();
    world.say('first');
    const { seq } = world.state;
    expect(world.say('no', { on_busy: 'reject' })).toMatchObject({ ok: false, error: { code: 'busy' } });
    expect(world.state.seq).toBe(seq);
  });

  it('starts nothing while it drains, and keeps the queue', () => {
    const world = new World();
    world.say('first');
    world.say('queued');
    world.draining = true;
    reply(world, 'end_turn', text(0, 'a'));
    expect(world.state.turn).toBeUndefined();
    expect(world.state.queue).toHaveLength(1);
    expect(new World().say('ok')).toMatchObject({ ok: true });
    expect(world.say('no')).toMatchObject({ ok: false, error: { code: 'draining' } });
  });

  it('refuses where the node is at its limit, and says when to come back', () => {
    const world = new World();
    world.overloaded = true;
    expect(world.say('Hi')).toMatchObject({ ok: false, error: { code: 'overloaded', retry_after_ms: 1_000 } });
  });

  it('queues a turn that the node has no place for, and begins it when it has one', () => {
    const world = new World();
    world.full = true;
    expect(world.say('Hi')).toMatchObject({ ok: true, result: { position: 1 } });
    expect(world.events.map(({ type }) => type)).toEqual(['user.message', 'turn.queued']);
    world.crash();
    world.input({ type: 'place_free' });
    expect(world.state.turn).toBeUndefined();
    world.full = false;
    world.input({ type: 'place_free' });
    reply(world, 'end_turn', text(0, 'a'));
    expect(ended(world)).toHaveLength(1);
  });

  it('[BUD-3] ends a queued turn whose hold is refused, and no other [TURN-1]', () => {
    const world = new World();
    world.say('first');
    const error = { type: 'rate_limit_error', code: 'budget_exhausted', message: 'spent', retryable: false } as const;
    const key = { turnId: world.state.turn?.turnId ?? '', step: 1, attempt: 1 };
    world.admit();
    world.input({ type: 'refused', key, error });
    expect(ended(world)).toEqual([]);
    world.say('second');
    reply(world, 'end_turn', text(0, 'a'));
    const late = { turnId: world.state.turn?.turnId ?? '', step: 1, attempt: 1 };
    expect(ended(world)).toEqual(['end_turn']);
    world.interrupt();
    world.say('third');
    world.effects.length = 0;
    world.input({ type: 'refused', key: late, error });
    expect(ended(world)).toEqual(['end_turn', 'cancelled']);
    world.input({ type: 'refused', key: { ...late, turnId: world.state.turn?.turnId ?? '' }, error });
    expect(world.of('turn.ended').at(-1)).toMatchObject({
      stop_reason: 'budget_exhausted',
      error: { code: 'budget_exhausted' },
    });
  });

  it('refuses what is beyond the queue', () => {
    const world = new World({ limits: { queued_turns: 1 } });
    world.say('a');
    world.say('b');
    expect(world.say('c')).toMatchObject({ ok: false, error: { code: 'queue_full' } });
    expect(world.say('c', { on_busy: 'steer' })).toMatchObject({ ok: false, error: { code: 'queue_full' } });
    expect(world.say('c', { on_busy: 'interrupt' })).toMatchObject({ ok: true });
  });
});

describe('steering', () => {
  const steer = (world: World, apply: 'next_step' | 'now', said = 'rather this') =>
    world.command({ type: 'user.steer', id: `s_${said}`, content: [{ type: 'text', text: said }], apply } as never);

  it('becomes a turn of its own where the turn ended first, several in order', () => {
    const world = new World();
    world.say('first');
    world.admit();
    steer(world, 'next_step', 'one');
    steer(world, 'next_step', 'two');
    reply(world, 'end_turn', text(0, 'done'));
    expect(world.of('turn.queued').map((e) => e.steer_id)).toHaveLength(2);
    expect(world.request.messages.at(-1)?.content[0]).toMatchObject({ text: 'one' });
    reply(world, 'end_turn', text(0, 'ok'));
    expect(world.request.messages.at(-1)?.content[0]).toMatchObject({ text: 'two' });
  });

  it('now: keeps the text as an incomplete message, cancels tools, and goes on with results first', () => {
    const world = new World();
    world.say('first');
    reply(world, 'tool_use', text(0, 'Let me look'), call(1, 'search', {}, 'toolu_1'));
    expect(steer(world, 'now')).toMatchObject({ ok: true, result: { outcome: 'joined' } });
    world.admit();
    expect(world.effects.some((e) => e.type === 'abort_tool')).toBe(true);
    expect(world.of('agent.tool_result')[0]).toMatchObject({ outcome: 'cancelled' });
    expect(world.request.messages.at(-1)?.content.map((b) => b.type)).toEqual(['tool_result', 'text']);
    expect(ended(world)).toEqual([]);
  });

  it('now: works mid-token', () => {
    const world = new World();
    world.say('first');
    stream(world, start, openText(0, 'I would'));
    steer(world, 'now');
    world.admit();
    expect(world.effects.some((e) => e.type === 'abort_model')).toBe(true);
    expect(world.of('agent.message')[0]).toMatchObject({ status: 'incomplete' });
    expect(world.request.messages.map((m) => m.role)).toEqual(['user', 'assistant', 'user']);
    expect(world.request.key.step).toBe(2);
  });

  it('now: does not walk past max_steps', () => {
    const world = new World({ maxSteps: 1 });
    world.say('first');
    stream(world, start, openText(0, 'I'));
    expect(steer(world, 'now')).toMatchObject({ ok: true, result: { outcome: 'pending' } });
    world.admit();
    expect(ended(world)).toEqual(['max_steps']);
    expect(world.request.messages.at(-1)?.content.at(-1)).toMatchObject({ text: 'rather this' });
    expect(world.state.turn?.step).toBe(1);
  });

  it('now: is taken along by a retry, at its time and in its place', () => {
    const world = new World();
    world.say('first');
    world.admit();
    const failure = {
      code: 'upstream_rate_limited' as const,
      message: 'slow down',
      retryable: true,
      retryAfterMs: 3_000,
    };
    world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
    steer(world, 'now');
    world.admit();
    expect(world.requests).toHaveLength(1);
    expect(world.of('steer.joined')[0]?.step).toBe(1);
    world.now += 4_000;
    world.input({ type: 'tick' });
    reply(world, 'end_turn', text(0, 'ok'));
    world.say('next');
    world.admit();
    expect(world.request.messages.map((m) => m.role)).toEqual(['user', 'assistant', 'user']);
    expect(world.request.messages[0]?.content).toHaveLength(2);
  });

  it('a steer that became a turn keeps no forced tool choice', () => {
    const world = new World();
    world.say('first', { tool_choice: { type: 'any' } });
    world.admit();
    expect(world.request.toolChoice).toEqual({ type: 'any' });
    steer(world, 'next_step');
    reply(world, 'tool_use', call(0, 'search'));
    endTool(world, 'search');
    expect(world.request.toolChoice).toBeUndefined();
    steer(world, 'next_step', 'later');
    reply(world, 'end_turn', text(0, 'ok'));
    expect(world.request.toolChoice).toBeUndefined();
  });

  it('is refused where nothing runs', () => {
    expect(steer(new World(), 'now')).toMatchObject({ ok: false, error: { code: 'turn_not_active' } });
  });
});
