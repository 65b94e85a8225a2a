import { call, endTool, openText, reply, start, stream, text } from './support/replies.js';
import { ALICE, ASKING, World } from './support/world.js';

const register = (world: World) =>
  world.input({
    type: 'register',
    sender: ALICE,
    command: {
      type: 'tools.register',
      id: 'r',
      session_id: 'sesn_1',
      tools: [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' } }],
    },
  });

/** Every moment of a turn's life at which the stop button may be pressed. */
const moments: [string, (world: World) => void][] = [
  ['before the budget was held', () => {}],
  ['before the model answered', (world) => world.admit()],
  ['before the first token', (world) => stream(world, start)],
  ['mid-token', (world) => stream(world, start, openText(0, 'Hel'))],
  [
    'inside a thinking block',
    (world) =>
      stream(
        world,
        start,
        { type: 'block_start', index: 0, block: { type: 'thinking' } },
        { type: 'thinking', index: 0, text: 'hm' },
      ),
  ],
  ['inside a tool_use block', (world) => stream(world, start, call(0, 'search', '{"q":').slice(0, 2))],
  ['while a server tool runs', (world) => reply(world, 'tool_use', text(0, 'ok'), call(1, 'search'))],
  ['while waiting on a client', (world) => reply(world, 'tool_use', call(0, 'edit_note'))],
  ['while waiting on an approver', (world) => reply(world, 'tool_use', call(0, 'send_mail'))],
  [
    'while backing off',
    (world) => {
      world.admit();
      const failure = { code: 'upstream_overloaded' as const, message: 'busy', retryable: true };
      world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
    },
  ],
];

describe('user.interrupt', () => {
  it.each(moments)('[CAN-1] [CAN-2] [CAN-3] works %s', (_name, reach) => {
    const world = new World({ policy: ASKING });
    register(world);
    const sent = world.say('Go');
    reach(world);
    const turnId = world.state.turn?.turnId;
    const streaming = world.state.turn?.phase.name === 'streaming';
    const accepted = world.interrupt();
    expect(accepted).toMatchObject({ ok: true, result: { turn_id: turnId, outcome: 'cancelled' } });
    expect(sent).toMatchObject({ ok: true });
    expect(world.of('turn.ended')).toEqual([
      expect.objectContaining({ turn_id: turnId, stop_reason: 'cancelled', partial: true }),
    ]);
    expect(world.of('session.status_idle').at(-1)?.stop_reason.type).toBe('interrupted');
    expect(world.effects.some((e) => e.type === 'abort_model')).toBe(streaming);
    world.admit();
    world.checkLog();
    world.checkHistory();
    world.say('And now?');
    world.admit();
  });

  it('[CAN-3] keeps what was produced, in the history and on the bill', () => {
    const world = new World();
    world.say('Go');
    stream(world, start, openText(0, 'a'.repeat(350)));
    world.interrupt();
    expect(world.of('agent.message')[0]).toMatchObject({ status: 'incomplete' });
    expect(world.of('turn.ended')[0]).toMatchObject({
      estimated: true,
      usage: { input_tokens: 10, output_tokens: 100 },
    });
    world.say('Go on');
    world.admit();
    expect(world.request.messages[1]).toEqual({
      role: 'assistant',
      content: [{ type: 'text', text: 'a'.repeat(350) }],
    });
  });

  it('[CAN-4] is accepted for what has ended, appends nothing, and ends no other turn', () => {
    const world = new World();
    const first = world.say('one');
    reply(world, 'end_turn', text(0, 'a'));
    const endedSeq = world.of('turn.ended')[0]?.seq;
    world.say('two');
    world.admit();
    const { seq } = world.state;
    const turn_id = first.ok ? first.result.turn_id : undefined;
    expect(world.interrupt({ turn_id })).toEqual({
      ok: true,
      appliedAtSeq: endedSeq,
      result: { turn_id, outcome: 'already_ended' },
    });
    expect(world.state.seq).toBe(seq);
    expect(world.state.turn).toBeDefined();
  });

  it('[CAN-1] finds a turn by its message and by its command, running and queued', () => {
    for (const by of ['message_id', 'command_id', 'turn_id'] as const) {
      const world = new World();
      world.say('one');
      world.say('two', { id: 'cmd-two' });
      const two = world.of('user.message')[1];
      const target = { message_id: two?.id, command_id: 'cmd-two', turn_id: two?.turn_id }[by];
      expect(world.interrupt({ [by]: target })).toMatchObject({
        ok: true,
        result: { outcome: 'cancelled', turn_id: two?.turn_id },
      });
      expect(world.state.queue).toEqual([]);
      expect(world.state.turn).toBeDefined();
    }
  });

  it('[TURN-3] what was cancelled in the queue never enters the history', () => {
    const world = new World();
    world.say('one');
    world.say('never said', { id: 'cmd-two' });
    world.interrupt({ command_id: 'cmd-two' });
    reply(world, 'end_turn', text(0, 'a'));
    world.say('three');
    world.admit();
    expect(JSON.stringify(world.request.messages)).not.toContain('never said');
  });

  it('takes the queue along where it is told so', () => {
    const world = new World();
    world.say('one');
    world.say('two');
    world.say('three');
    world.interrupt({ scope: 'turn_and_queue' });
    expect(world.of('turn.ended')).toHaveLength(3);
    expect(world.state.turn).toBeUndefined();
  });

  it('takes steers along with the queue', () => {
    const world = new World();
    world.say('one');
    const content = [{ type: 'text', text: 'more' }];
    world.command({ type: 'user.steer', id: 's', content, apply: 'next_step' } as never);
    world.interrupt({ scope: 'turn_and_queue' });
    expect(world.state.turn).toBeUndefined();
    expect(world.state.queue).toEqual([]);
  });

  it('[CAN-1] [CAN-4] finds the turn that a message steered, before and after it joined and when it ended', () => {
    const world = new World();
    const one = world.say('one');
    const turn_id = one.ok ? one.result.turn_id : undefined;
    world.say('that', { id: 'steering', on_busy: 'steer' });
    reply(world, 'tool_use', call(0, 'search'));
    endTool(world, 'search');
    expect(world.of('steer.joined')).toHaveLength(1);
    const message_id = world.of('user.message')[1]?.id;
    reply(world, 'end_turn', text(0, 'ok'));
    for (const target of [{ command_id: 'steering' }, { message_id }])
      expect(world.interrupt(target)).toMatchObject({ ok: true, result: { turn_id, outcome: 'already_ended' } });
  });

  it('[BUD-2] settles every request once, whatever ends it', () => {
    for (const end of ['whole', 'cut', 'failed'] as const) {
      const world = new World();
      world.say('Go');
      stream(world, start, openText(0, 'some'));
      if (end === 'whole') reply(world, 'end_turn');
      else if (end === 'cut') world.interrupt();
      else {
        const failure = { code: 'upstream_truncated' as const, message: 'cut', retryable: true };
        world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
      }
      const settled = world.effects.filter((e) => e.type === 'settle');
      expect(settled).toEqual([expect.objectContaining({ estimated: end !== 'whole' })]);
      expect(settled[0]).toMatchObject({ usage: { input_tokens: 10 } });
    }
  });

  it('[BUD-2] charges the prompt where the provider had read it before it failed', () => {
    const world = new World();
    world.say('Go');
    stream(world, start);
    const failure = { code: 'upstream_overloaded' as const, message: 'busy', retryable: true };
    world.input({ type: 'model_ended', key: world.request.key, end: { type: 'failed', failure } });
    expect(world.effects.find((e) => e.type === 'settle')).toMatchObject({
      usage: { input_tokens: 10 },
      estimated: true,
    });
  });

  it('refuses an unknown id', () => {
    const world = new World();
    world.say('one');
    expect(world.interrupt({ turn_id: 'turn_of_somebody_else' })).toMatchObject({
      ok: false,
      error: { code: 'turn_not_found' },
    });
  });

  it('[CAN-5] tells the model which calls had started and which had not', () => {
    const world = new World({ policy: ASKING });
    world.say('Go');
    reply(world, 'tool_use', call(0, 'search', {}, 'toolu_1'), call(1, 'send_mail', {}, 'toolu_2'));
    world.interrupt();
    expect(world.effects.some((e) => e.type === 'abort_tool')).toBe(true);
    const texts = world.of('agent.tool_result').map((e) => [e.outcome, e.content[0]?.['text']]);
    expect(texts).toEqual([
      ['cancelled', 'Cancelled while running: the turn was cancelled.'],
      ['cancelled', 'Not run: the turn was cancelled.'],
    ]);
  });
});
