import { call, endTool, openText, reply, start, stream, text } from './support/replies.js';
import { ALICE, type World as AnyWorld, ASKING, World } from './support/world.js';

const register = (world: AnyWorld, connectionId = 'conn_alice', schema: object = {}) =>
  world.input({
    type: 'register',
    sender: { ...ALICE, connectionId },
    command: {
      type: 'tools.register',
      id: 'r',
      session_id: 'sesn_1',
      tools: [
        { name: 'edit_note', description: 'Edits', input_schema: { type: 'object', ...schema }, timeout_ms: 5_000 },
      ],
    },
  }).reply;

const answer = (world: AnyWorld, id: string | undefined, said = 'done') =>
  world.command({
    type: 'user.custom_tool_result',
    id: `a_${said}`,
    custom_tool_use_id: id,
    content: [{ type: 'text', text: said }],
  } as never);

const confirm = (
  world: AnyWorld,
  id: string | undefined,
  result: 'allow' | 'deny',
  extra: object = {},
  sender = ALICE,
) =>
  world.command(
    { type: 'user.tool_confirmation', id: `f${world.state.seq}`, tool_use_id: id, result, ...extra } as never,
    sender,
  );

describe('client tools', () => {
  it('[TOOL-4] are offered as soon as their block is complete, and answered while the model streams', () => {
    const world = new World();
    register(world);
    world.say('Edit');
    stream(world, start, call(0, 'edit_note', {}, 'toolu_1'), openText(1, 'meanwhile'));
    const id = world.of('agent.custom_tool_use')[0]?.id;
    expect(world.of('tool.offered')[0]).toMatchObject({ tool_use_id: id, connection_id: 'conn_alice' });
    expect(answer(world, id)).toMatchObject({ ok: true });
    stream(world, { type: 'text', index: 1, text: ' more' }, { type: 'block_stop', index: 1 });
    reply(world, 'tool_use');
    expect(world.request.key.step).toBe(2);
    expect(world.of('turn.waiting')).toHaveLength(0);
  });

  it('[TOOL-4] the first result wins', () => {
    const world = new World();
    register(world);
    world.say('Edit');
    reply(world, 'tool_use', call(0, 'edit_note'));
    const id = world.of('agent.custom_tool_use')[0]?.id;
    expect(answer(world, id, 'first')).toMatchObject({ ok: true });
    expect(answer(world, id, 'second')).toMatchObject({ ok: false, error: { code: 'already_resolved' } });
    reply(world, 'end_turn', text(0, 'ok'));
    expect(answer(world, id, 'third')).toMatchObject({ ok: false, error: { code: 'already_resolved' } });
    expect(answer(world, 'sevt_none')).toMatchObject({ ok: false, error: { code: 'tool_call_not_found' } });
  });

  it('[TOOL-5] go to the prompter where it has the tool', () => {
    const world = new World();
    const bob = { principal: { user_id: 'bob', org_id: 'acme', roles: ['admin'] }, connectionId: 'conn_bob' };
    const tools = [
      { name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const }, timeout_ms: 5_000 },
    ];
    world.input({
      type: 'register',
      sender: bob,
      command: { type: 'tools.register', id: 'r', session_id: 'sesn_1', tools },
    });
    register(world, 'conn_alice');
    world.say('Edit');
    reply(world, 'tool_use', call(0, 'edit_note'));
    expect(world.of('tool.offered')[0]?.connection_id).toBe('conn_alice');
  });

  it('[TOOL-5] are offered again, after a grace, to another member when the connection goes', () => {
    const world = new World();
    register(world, 'conn_alice');
    register(world, 'conn_b');
    world.say('Edit');
    reply(world, 'tool_use', call(0, 'edit_note'));
    const first = world.of('tool.offered')[0]?.connection_id ?? '';
    world.input({ type: 'connection_gone', connectionId: first });
    expect(world.of('tool.offered')).toHaveLength(1);
    world.now += 4_000;
    world.input({ type: 'tick' });
    expect(world.of('tool.offered')).toHaveLength(1);
  });

  it('[TOOL-5] become an error result at expires_at, and the turn goes on', () => {
    const world = new World();
    register(world);
    world.say('Edit');
    reply(world, 'tool_use', call(0, 'edit_note'));
    expect(world.of('turn.waiting')[0]?.pending).toEqual([expect.objectContaining({ kind: 'tool_result' })]);
    world.now += 5_000;
    world.input({ type: 'tick' });
    world.admit();
    expect(world.of('agent.tool_result')[0]).toMatchObject({ outcome: 'timeout', is_error: true });
    expect(world.request.key.step).toBe(2);
    expect(world.of('turn.resumed')).toHaveLength(1);
  });

  it('[TURN-4] stop the deadline while they are awaited', () => {
    const world = new World();
    register(world);
    world.say('Edit', { deadline_ms: 3_000 });
    world.now += 1_000;
    reply(world, 'tool_use', call(0, 'edit_note'));
    world.now += 4_500;
    world.input({ type: 'tick' });
    answer(world, world.of('agent.custom_tool_use')[0]?.id);
    expect(Date.parse(world.of('turn.resumed')[0]?.deadline_at ?? '')).toBe(world.now + 2_000);
  });

  it('are refused under the name of a server tool, or under another schema', () => {
    const world = new World();
    register(world, 'conn_alice');
    expect(register(world, 'conn_b', { required: ['x'] })).toMatchObject({
      ok: false,
      error: { code: 'invalid_request' },
    });
    const named = { name: 'search', description: '', input_schema: { type: 'object' as const } };
    const command = { type: 'tools.register' as const, id: 'r', session_id: 'sesn_1', tools: [named] };
    expect(world.input({ type: 'register', sender: ALICE, command }).reply).toMatchObject({ ok: false });
  });

  it('[TOOL-5] reach the model at the next turn', () => {
    const world = new World();
    world.say('one');
    register(world);
    world.admit();
    expect(world.request.tools.map((t) => t.name)).not.toContain('edit_note');
    reply(world, 'end_turn', text(0, 'a'));
    world.say('two');
    world.admit();
    expect(world.request.tools.map((t) => t.name)).toEqual(['search', 'send_mail', 'wipe', 'edit_note']);
  });
});

describe('server tools', () => {
  it('[TOOL-4] start when their step is complete', () => {
    const world = new World();
    world.say('Find');
    stream(world, start, call(0, 'search'));
    expect(world.of('tool.started')).toHaveLength(0);
    reply(world, 'tool_use');
    expect(world.of('tool.started')).toHaveLength(1);
  });

  it('[TOOL-1] [TOOL-2] a denied call never starts, the model is told, and the turn goes on', () => {
    const world = new World({ policy: ASKING });
    world.say('Wipe');
    expect(world.state.turn?.serverTools).toEqual(['search', 'send_mail']);
    reply(world, 'tool_use', call(0, 'wipe'), call(1, 'unheard_of'));
    expect(world.of('tool.denied').map((e) => e.rule)).toEqual([
      'wipe is not among the tools of this turn',
      'unheard_of is not among the tools of this turn',
    ]);
    expect(world.of('agent.tool_result').map((e) => e.outcome)).toEqual(['denied', 'denied']);
    expect(world.effects.some((e) => e.type === 'run_tool')).toBe(false);
    expect(world.request.key.step).toBe(2);
  });

  it('[TOOL-1] the policy is asked again when a call starts', () => {
    const world = new World();
    world.say('Wipe');
    stream(world, start, call(0, 'wipe'));
    world.policy = ASKING;
    reply(world, 'tool_use');
    expect(world.of('tool.started')).toHaveLength(0);
    expect(world.of('tool.denied')[0]?.rule).toBe('role admin: deny wipe');
  });

  it('[TOOL-1] a call that by now must be asked for does not run unasked', () => {
    const world = new World();
    world.say('Send');
    stream(world, start, call(0, 'send_mail'));
    world.policy = ASKING;
    reply(world, 'tool_use');
    expect(world.of('tool.started')).toHaveLength(0);
    expect(world.of('tool.denied')[0]?.rule).toBe('role admin: ask send_mail');
  });

  it('[TOOL-1] nobody’s tool begins while nobody can say who was revoked; the turn goes on', () => {
    const world = new World();
    world.say('Find');
    stream(world, start, call(0, 'send_mail'));
    world.heldBack = 'the store is away';
    reply(world, 'tool_use');
    expect(world.of('tool.started')).toHaveLength(0);
    expect(world.of('tool.denied')[0]?.rule).toBe('the store is away');
    expect(world.state.turn?.phase.name).not.toBe('ended');
  });

  it('[TOOL-1] whoever steered is asked for, too', () => {
    const world = new World({ rolesOf: (user) => (user === 'bob' ? ['guest'] : ['admin']) });
    world.say('Find');
    const bob = { principal: { user_id: 'bob', org_id: 'acme', roles: ['guest'] }, connectionId: 'conn_bob' };
    const content = [{ type: 'text', text: 'and mail it' }];
    world.command({ type: 'user.steer', id: 's', content, apply: 'next_step' } as never, bob);
    reply(world, 'tool_use', call(0, 'search'));
    expect(world.of('tool.denied')).toHaveLength(1);
    expect(world.of('tool.started')).toHaveLength(0);
  });

  it('an input that does not fit goes back to the model as an error result', () => {
    const world = new World();
    world.say('Find');
    reply(world, 'tool_use', call(0, 'search', { q: 7 }), call(1, 'search', '{"q":'));
    expect(world.of('agent.tool_result').map((e) => [e.outcome, e.content[0]?.['text']])).toEqual([
      ['error', "The input does not fit the tool's schema: /q must be string"],
      ['error', 'The input is not a JSON object.'],
    ]);
  });

  it('[TOOL-6] results are capped with a note', () => {
    const world = new World({ limits: { tool_result_bytes: 10 } });
    world.say('Find');
    reply(world, 'tool_use', call(0, 'search'));
    endTool(world, 'search', 'é'.repeat(10));
    const content = world.of('agent.tool_result')[0]?.content ?? [];
    expect(content[0]).toEqual({ type: 'text', text: 'ééééé' });
    expect(content[1]?.['text']).toContain('limit of 10');
  });
});

describe('approvals', () => {
  const ask = (options: ConstructorParameters<typeof World>[0] = {}) => {
    const world = new World({ policy: ASKING, ...options });
    world.say('Send');
    reply(world, 'tool_use', call(0, 'send_mail', { q: 'draft' }));
    return { world, id: world.of('agent.tool_use')[0]?.id };
  };

  it('[TOOL-3] wait, with the session idle and saying what for', () => {
    const { world, id } = ask();
    expect(world.of('agent.tool_use')[0]?.evaluated_permission).toBe('ask');
    expect(world.of('turn.waiting')[0]?.pending).toEqual([
      expect.objectContaining({ kind: 'confirmation', tool_use_id: id }),
    ]);
    expect(world.of('session.status_idle')[0]?.stop_reason).toEqual({ type: 'requires_action', event_ids: [id] });
  });

  it('[TOOL-3] allow starts the tool with the edited input, and the model is told', () => {
    const { world, id } = ask();
    expect(confirm(world, id, 'allow', { updated_input: { q: 'final' } })).toMatchObject({ ok: true });
    expect(world.effects.find((e) => e.type === 'run_tool')).toMatchObject({ input: { q: 'final' } });
    endTool(world, 'send_mail', 'sent');
    const result = world.request.messages.at(-1)?.content[0]?.['content'];
    expect(result).toEqual([
      { type: 'text', text: 'The approver changed the input to {"q":"final"}.' },
      { type: 'text', text: 'sent' },
    ]);
  });

  it.each(['allow', 'deny'] as const)('[TOOL-3] the first confirmation wins: %s', (first) => {
    const { world, id } = ask();
    const late = { ok: false, error: { code: 'already_resolved' } };
    expect(confirm(world, id, first)).toMatchObject({ ok: true });
    for (const later of ['allow', 'deny'] as const) expect(confirm(world, id, later)).toMatchObject(late);
    if (first === 'allow') {
      expect(world.state.turn?.calls[0]?.state.name).toBe('started');
      endTool(world, 'send_mail', 'sent');
    }
    reply(world, 'end_turn', text(0, 'ok'));
    expect(confirm(world, id, 'deny')).toMatchObject(late);
    expect(world.of('user.tool_confirmation')).toHaveLength(1);
  });

  it('[TOOL-1] nothing is allowed while nobody can say who was revoked, and may be a moment later', () => {
    const { world, id } = ask();
    world.heldBack = 'the store is away';
    expect(confirm(world, id, 'allow')).toMatchObject({ ok: false, error: { code: 'store_unavailable' } });
    world.heldBack = undefined;
    expect(confirm(world, id, 'allow')).toMatchObject({ ok: true });
  });

  it('[TOOL-3] no call is confirmed that nobody was asked about', () => {
    const world = new World();
    world.say('Find');
    reply(world, 'tool_use', call(0, 'search'));
    const id = world.of('agent.tool_use')[0]?.id;
    expect(confirm(world, id, 'allow')).toMatchObject({ ok: false, error: { code: 'invalid_request' } });
    expect(confirm(world, 'sevt_none', 'allow')).toMatchObject({ ok: false, error: { code: 'tool_call_not_found' } });
  });

  it('[TOOL-3] checks an edited input again', () => {
    const { world, id } = ask();
    expect(confirm(world, id, 'allow', { updated_input: { q: 7 } })).toMatchObject({
      ok: false,
      error: { code: 'invalid_request' },
    });
    expect(world.state.turn?.calls[0]?.state.name).toBe('asking');
  });

  it('[TOOL-3] asks the policy about an edited input', () => {
    const { world, id } = ask();
    world.policy = { admin: { ...ASKING['admin'], tools: { deny: ['send_mail'] }, approve: ['*'] } };
    expect(confirm(world, id, 'allow', { updated_input: { q: 'x' } })).toMatchObject({
      ok: false,
      error: { code: 'forbidden_tool' },
    });
  });

  it('[TOOL-3] deny becomes an error result with the reason', () => {
    const { world, id } = ask();
    confirm(world, id, 'deny', { deny_message: 'not today' });
    expect(world.of('agent.tool_result')[0]).toMatchObject({
      outcome: 'denied',
      content: [{ text: 'The user denied this call: not today' }],
    });
    world.admit();
    expect(world.request.key.step).toBe(2);
  });

  it('[TOOL-3] without an answer by expires_at are denied', () => {
    const { world } = ask();
    world.now += 600_000;
    world.input({ type: 'tick' });
    expect(world.of('tool.denied')).toHaveLength(1);
    expect(world.of('agent.tool_result')[0]?.outcome).toBe('denied');
  });

  it('[TOOL-3] count only from a role that may approve', () => {
    const { world, id } = ask({ rolesOf: (user) => (user === 'bob' ? [] : ['admin']) });
    const viewer = { principal: { user_id: 'bob', org_id: 'acme', roles: ['admin'] }, connectionId: 'conn_bob' };
    expect(confirm(world, id, 'allow', {}, viewer)).toMatchObject({ ok: false, error: { code: 'forbidden' } });
  });

  it('[TOOL-7] are in the snapshot and survive a crash', () => {
    const { world, id } = ask();
    world.crash();
    expect(world.state.turn?.phase.name).toBe('waiting');
    expect(confirm(world, id, 'allow')).toMatchObject({ ok: true });
    endTool(world, 'send_mail');
    reply(world, 'end_turn', text(0, 'sent'));
    expect(world.of('turn.ended')[0]?.stop_reason).toBe('end_turn');
  });
});
