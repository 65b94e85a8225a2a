import { call, endTool, openText, reply, start, stream, text } from './support/replies.js';
import { ALICE, ASKING, World } from './support/world.js';

describe('after a crash', () => {
  it('[NODE-2] an unfinished step is superseded and run again', () => {
    const world = new World();
    world.say('Go');
    stream(world, start, text(0, 'whole'), openText(1, 'half'));
    world.crash();
    world.admit();
    const discarded = world.of('step.superseded')[0]?.discard_event_ids;
    expect(discarded).toEqual([world.of('event_start')[0]?.event.id]);
    expect(world.of('turn.resumed')[0]).toMatchObject({ recovery: 1 });
    expect(world.request.key).toMatchObject({ step: 1, attempt: 2 });
    expect(world.request.messages).toHaveLength(1);
    reply(world, 'end_turn', text(0, 'again'));
    expect(world.of('turn.ended')).toHaveLength(1);
    world.checkLog();
  });

  it('[NODE-2] a step with a call offered is closed as it stands, and the turn goes on from the results', () => {
    const world = new World();
    const tools = [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const } }];
    const command = { type: 'tools.register' as const, id: 'r', session_id: 'sesn_1', tools };
    world.input({ type: 'register', sender: ALICE, command });
    world.say('Edit');
    stream(world, start, call(0, 'edit_note'), openText(1, 'and then'));
    world.crash();
    expect(world.of('step.superseded')).toHaveLength(0);
    expect(world.of('agent.message')[0]).toMatchObject({ status: 'incomplete', content: [{ text: 'and then' }] });
    const id = world.of('agent.custom_tool_use')[0]?.id;
    world.command({ type: 'user.custom_tool_result', id: 'a', custom_tool_use_id: id, content: [] } as never);
    world.admit();
    expect(world.request.key.step).toBe(2);
  });

  it('[NODE-2] a step with an approval asked for is closed as it stands', () => {
    const world = new World({ policy: ASKING });
    world.say('Send');
    stream(world, start, call(0, 'send_mail'), openText(1, 'and'));
    world.crash();
    expect(world.of('step.superseded')).toHaveLength(0);
    expect(world.state.turn?.phase.name).toBe('waiting');
  });

  it('[NODE-2] a tool that may have run is run again only if it is idempotent', () => {
    const world = new World();
    world.say('Both');
    reply(world, 'tool_use', call(0, 'search', {}, 'toolu_1'), call(1, 'send_mail', {}, 'toolu_2'));
    world.crash();
    expect(world.effects.filter((e) => e.type === 'run_tool').map((e) => e.name)).toEqual(['search']);
    expect(world.of('agent.tool_result')[0]).toMatchObject({ outcome: 'unknown', is_error: true });
    endTool(world, 'search');
    reply(world, 'end_turn', text(0, 'ok'));
    expect(world.of('turn.ended')[0]?.stop_reason).toBe('end_turn');
  });

  it('[NODE-2] ends a turn that brought the server down three times', () => {
    const world = new World();
    world.say('Go');
    world.admit();
    for (let i = 0; i < 4; i++) world.crash();
    expect(world.of('turn.ended')[0]).toMatchObject({ stop_reason: 'node_lost' });
    expect(world.of('session.status_idle').at(-1)?.stop_reason.type).toBe('retries_exhausted');
  });

  it('[TURN-1] a queue goes on', () => {
    const world = new World();
    world.say('one');
    world.say('two');
    world.crash();
    world.admit();
    reply(world, 'end_turn', text(0, 'a'));
    reply(world, 'end_turn', text(0, 'b'));
    expect(world.of('turn.ended')).toHaveLength(2);
  });

  it('the time in which nobody ran the turn does not count against its deadline [TURN-4]', () => {
    const world = new World();
    world.say('Go', { deadline_ms: 10_000 });
    stream(world, start, openText(0, 'x'));
    world.now += 3_600_000;
    world.crash();
    expect(Date.parse(world.of('turn.resumed')[0]?.deadline_at ?? '')).toBe(world.now + 10_000);
  });
});
