/** What a role allows, and what goes with it when it ends. */
import type { MemberRole, MemberUpdate } from '../../protocol/index.js';
import { roleOf } from '../../server/core/membership.js';
import type { Sender } from '../../server/core/transition.js';
import { call, endTool, openText, reply, start, stream, text } from './support/replies.js';
import { ALICE, ASKING, World } from './support/world.js';

const sender = (user: string, org = 'acme') => ({
  principal: { user_id: user, org_id: org, roles: ['admin'] },
  connectionId: `conn_${user}`,
});
const BOB = sender('bob');
const CAROL = sender('carol');

let ids = 0;
function share(world: World, user_id: string, role: MemberRole | null, by = ALICE) {
  const command: MemberUpdate = { type: 'session.member_update', id: `m${++ids}`, session_id: 'sesn_1', user_id, role };
  const { reply: answer } = world.input({ type: 'command', command, sender: by, hold: 'needed' });
  if (!answer) throw new Error('no reply');
  return answer;
}

const say = (world: World, by: Sender, extra: object = {}) =>
  world.command(
    { type: 'user.message', id: `s${++ids}`, content: [{ type: 'text', text: 'Hi' }], ...extra } as never,
    by,
  );

const steer = (world: World, by: Sender) =>
  world.command(
    { type: 'user.steer', id: `s${++ids}`, content: [{ type: 'text', text: 'So' }], apply: 'next_step' } as never,
    by,
  );

const register = (world: World, by: Sender) =>
  world.input({
    type: 'register',
    sender: by,
    command: {
      type: 'tools.register',
      id: 'r',
      session_id: 'sesn_1',
      tools: [{ name: 'edit_note', description: 'Edits', input_schema: { type: 'object' }, timeout_ms: 5_000 }],
    },
  }).reply;

const refused = (code: string) => ({ ok: false, error: { code } });
const rolesIn = (world: World) => Object.fromEntries(world.state.members.map((m) => [m.user_id, m.role]));

describe('sharing', () => {
  it('is an event with its actor, and the log folds to the same members', () => {
    const world = new World();
    expect(share(world, 'carol', 'viewer')).toMatchObject({ ok: true, result: { user_id: 'carol', role: 'viewer' } });
    share(world, 'carol', 'owner');
    share(world, 'bob', null, CAROL);
    expect(world.of('session.member_updated').map((e) => [e.actor?.user_id, e.user_id, e.role])).toEqual([
      ['alice', 'carol', 'viewer'],
      ['alice', 'carol', 'owner'],
      ['carol', 'bob', null],
    ]);
    expect(rolesIn(world)).toEqual({ alice: 'owner', carol: 'owner' });
    expect(world.fold().members).toEqual(world.state.members);
    world.checkpoint();
    world.crash();
    expect(rolesIn(world)).toEqual({ alice: 'owner', carol: 'owner' });
  });

  it('of what is so already changes nothing', () => {
    const world = new World();
    expect(share(world, 'bob', 'editor')).toMatchObject({ ok: true, appliedAtSeq: 0 });
    expect(world.log).toHaveLength(0);
    expect(share(world, 'nobody', null)).toMatchObject(refused('not_found'));
  });

  it('takes an owner, but everybody may leave', () => {
    const world = new World();
    share(world, 'carol', 'viewer');
    expect(share(world, 'dave', 'viewer', BOB)).toMatchObject(refused('forbidden'));
    expect(share(world, 'bob', 'owner', BOB)).toMatchObject(refused('forbidden'));
    expect(share(world, 'bob', null, CAROL)).toMatchObject(refused('forbidden'));
    expect(share(world, 'carol', null, CAROL)).toMatchObject({ ok: true });
    expect(share(world, 'bob', null, BOB)).toMatchObject({ ok: true });
    expect(share(world, 'bob', null, BOB)).toMatchObject(refused('session_not_found'));
  });

  it('leaves an owner', () => {
    const world = new World();
    for (const role of [null, 'editor', 'viewer'] as const)
      expect(share(world, 'alice', role)).toMatchObject(refused('last_owner'));
    share(world, 'bob', 'owner');
    expect(share(world, 'alice', 'viewer')).toMatchObject({ ok: true });
    expect(share(world, 'bob', null, BOB)).toMatchObject(refused('last_owner'));
  });

  it('has a bound', () => {
    const world = new World();
    for (let n = 2; n < 100; n++) expect(share(world, `user${n}`, 'viewer')).toMatchObject({ ok: true });
    expect(share(world, 'one too many', 'viewer')).toMatchObject(refused('invalid_request'));
    expect(share(world, 'user2', 'editor')).toMatchObject({ ok: true });
  });

  it('[AUTH-3] is of users of the org alone', () => {
    const world = new World();
    share(world, 'carol', 'owner');
    expect(roleOf(world.state, { user_id: 'carol', org_id: 'other' })).toBeUndefined();
    expect(say(world, sender('carol', 'other'))).toMatchObject(refused('session_not_found'));
    expect(share(world, 'dave', 'owner', sender('alice', 'other'))).toMatchObject(refused('session_not_found'));
  });
});

describe('a viewer', () => {
  it('is refused what takes an editor, with a sentence; a stranger is told nothing', () => {
    const world = new World();
    share(world, 'carol', 'viewer');
    const head = world.state.seq;
    expect(say(world, CAROL)).toMatchObject({
      ok: false,
      error: { code: 'forbidden', message: expect.stringContaining('You are a viewer of this session') },
    });
    expect(register(world, CAROL)).toMatchObject(refused('forbidden'));
    expect(register(world, sender('mallory'))).toMatchObject(refused('session_not_found'));
    expect(say(world, sender('mallory'))).toMatchObject(refused('session_not_found'));
    expect(world.state.seq).toBe(head);
  });

  it('[TOOL-3] approves nothing; an editor does', () => {
    const world = new World({ policy: ASKING });
    share(world, 'carol', 'viewer');
    world.say('Send');
    reply(world, 'tool_use', call(0, 'send_mail'));
    const tool_use_id = world.of('agent.tool_use')[0]?.id;
    const confirm = (by: Sender) =>
      world.command({ type: 'user.tool_confirmation', id: `f${++ids}`, tool_use_id, result: 'allow' } as never, by);
    expect(confirm(CAROL)).toMatchObject(refused('forbidden'));
    expect(confirm(BOB)).toMatchObject({ ok: true });
    expect(world.of('user.tool_confirmation')[0]?.actor).toEqual({ user_id: 'bob' });
    expect(world.of('tool.started')).toHaveLength(1);
  });

  it('[TOOL-5] answers no call; any editor does', () => {
    const world = new World();
    share(world, 'carol', 'viewer');
    register(world, ALICE);
    world.say('Edit');
    reply(world, 'tool_use', call(0, 'edit_note'));
    const custom_tool_use_id = world.of('agent.custom_tool_use')[0]?.id;
    const answer = (by: Sender) =>
      world.command({ type: 'user.custom_tool_result', id: `a${++ids}`, custom_tool_use_id } as never, by);
    expect(answer(CAROL)).toMatchObject(refused('forbidden'));
    expect(answer(BOB)).toMatchObject({ ok: true });
    expect(world.of('user.custom_tool_result')[0]?.actor).toEqual({ user_id: 'bob' });
  });
});

describe.each([null, 'viewer'] as const)('who was an editor and is now %s', (role) => {
  it('[TOOL-5] has no tools: what they were to run is offered to another member, at once', () => {
    const world = new World();
    register(world, BOB);
    world.say('Edit');
    reply(world, 'tool_use', call(0, 'edit_note'));
    expect(world.of('tool.offered').map((e) => e.connection_id)).toEqual(['conn_bob']);
    register(world, ALICE);
    share(world, 'bob', role);
    expect(world.of('tool.offered').map((e) => e.connection_id)).toEqual(['conn_bob', 'conn_alice']);
    expect(world.state.registrations.map((r) => r.connectionId)).toEqual(['conn_alice']);
  });

  it('[TOOL-1] has a turn that goes on, and calls no tool', () => {
    const world = new World();
    say(world, BOB);
    stream(world, start, call(0, 'search'), openText(1, 'meanwhile'));
    share(world, 'bob', role);
    stream(world, { type: 'block_stop', index: 1 });
    reply(world, 'tool_use');
    expect(world.of('tool.started')).toHaveLength(0);
    expect(world.of('tool.denied').map((e) => e.rule)).toEqual(['bob may no longer prompt in this session']);
    reply(world, 'end_turn', text(0, 'Well.'));
    expect(world.of('turn.ended')[0]).toMatchObject({ stop_reason: 'end_turn' });
  });

  it('[TOOL-1] has the calls that wait in their turn denied, and the turn goes on', () => {
    const world = new World({ policy: ASKING });
    say(world, BOB);
    reply(world, 'tool_use', call(0, 'send_mail'));
    expect(world.of('turn.waiting')).toHaveLength(1);
    share(world, 'bob', role);
    world.admit();
    expect(world.of('agent.tool_result')[0]).toMatchObject({ outcome: 'denied' });
    expect(world.request.key.step).toBe(2);
  });

  it('keeps a tool that runs, and loses what waits in the queue', () => {
    const world = new World();
    say(world, BOB);
    reply(world, 'tool_use', call(0, 'search'));
    say(world, BOB);
    world.say('Mine');
    share(world, 'bob', role);
    expect(world.of('turn.ended')).toMatchObject([{ stop_reason: 'cancelled' }]);
    expect(world.state.queue.map((queued) => queued.from.user_id)).toEqual(['alice']);
    endTool(world, 'search');
    expect(world.of('agent.tool_result')[0]).toMatchObject({ outcome: 'ok' });
  });

  it('steers nothing more, after a crash either', () => {
    const world = new World();
    world.say('Go');
    stream(world, start, openText(0, 'On'));
    steer(world, BOB);
    share(world, 'bob', role);
    expect(world.state.turn?.steers).toEqual([]);
    expect(world.fold().turn?.steers).toEqual([]);
    stream(world, { type: 'block_stop', index: 0 });
    reply(world, 'end_turn');
    expect(world.of('turn.queued')).toHaveLength(0);
    expect(world.of('turn.started')).toHaveLength(1);
  });
});

it('reports progress in its own name', () => {
  const world = new World();
  register(world, ALICE);
  world.say('Edit');
  reply(world, 'tool_use', call(0, 'edit_note'));
  const custom_tool_use_id = world.of('agent.custom_tool_use')[0]?.id;
  world.command({ type: 'user.tool_progress', id: 'p', custom_tool_use_id, percent: 5 } as never, BOB);
  expect(world.of('tool.progress')[0]).toMatchObject({ actor: { user_id: 'bob' }, percent: 5 });
});
