/** Who may read the audit, and what approvals put there; several principals in one room. */
import type { AuditRecord, Principal } from '../../protocol/index.js';
import type { Caller } from '../../server/session/session-api.js';
import { LOCAL, startRoom, type TestRoom } from './support.js';

const NO_BUDGETS = { roles: undefined, org: undefined };

/** A user for each set of roles: those of one user are what their last credential said. */
const as = (principal: Partial<Principal>): Caller => ({
  principal: { ...LOCAL, user_id: `of ${principal.roles?.join(' and ')}`, ...principal },
  requestId: 'req_caller',
});

let t: TestRoom;
const ran: string[] = [];
beforeEach(async () => {
  ran.length = 0;
  t = await startRoom({
    tools: [
      {
        name: 'send_mail',
        description: 'Sends.',
        input_schema: { type: 'object' },
        run: async () => {
          ran.push('send_mail');
          return 'sent';
        },
      },
    ],
  });
});
afterEach(() => t.stop());

it('is read by a role with inspect, in its own org, and by nobody else', async () => {
  t.room.setPolicy(
    {
      clerk: { tools: { allow: ['send_mail'] } },
      auditor: { tools: {}, inspect: true },
    },
    NO_BUDGETS,
  );
  await t.room.api.callTool(as({ roles: ['clerk'] }), 'send_mail', {}, { signal: new AbortController().signal });
  const read = (principal: Partial<Principal>) => t.room.api.listAudit(as(principal), { limit: 10 });
  expect((await read({ roles: ['clerk', 'auditor'] })).records).toHaveLength(2);
  expect((await read({ roles: ['auditor'], org_id: 'another' })).records).toEqual([]);
  for (const roles of [['clerk'], ['unheard_of'], []])
    await expect(read({ roles })).rejects.toMatchObject({ code: 'forbidden' });
});

it('[TOOL-1] calls a tool by the roles of its caller, and by what the policy is then', async () => {
  const call = (roles: string[]) =>
    t.room.api.callTool(as({ roles }), 'send_mail', {}, { signal: new AbortController().signal });
  t.room.setPolicy({ clerk: { tools: { allow: ['send_mail'] } }, guest: { tools: { deny: ['send_*'] } } }, NO_BUDGETS);
  expect((await call(['clerk'])).outcome).toBe('ok');
  await expect(call(['clerk', 'guest'])).rejects.toMatchObject({ code: 'forbidden_tool' });
  await expect(call(['nobody'])).rejects.toMatchObject({ details: { rule: 'no role of yours names send_mail' } });
  t.room.setPolicy({ clerk: { tools: {} } }, NO_BUDGETS);
  await expect(call(['clerk'])).rejects.toMatchObject({ code: 'forbidden_tool' });
  expect(ran).toHaveLength(1);
});

it('runs no tool whose start could not be put on record', async () => {
  t.room.setPolicy({ clerk: { tools: { allow: ['send_mail'] } } }, NO_BUDGETS);
  await t.store.close();
  const call = t.room.api.callTool(as({ roles: ['clerk'] }), 'send_mail', {}, { signal: new AbortController().signal });
  await expect(call).rejects.toMatchObject({ code: 'store_unavailable' });
  expect(ran).toEqual([]);
});

it.each([
  ['allow', ['approval allowed', 'tool_call started', 'tool_call ok']],
  ['deny', ['approval denied', 'denial denied']],
] as const)(
  '[TOOL-3] puts an approval (%s) on record, with who gave it and the request that brought it',
  async (result, expected) => {
    t.room.setPolicy(
      {
        admin: { tools: { ask: ['send_mail'] }, models: ['*'], approve: ['*'], inspect: true },
      },
      NO_BUDGETS,
    );
    const session = await t.create();
    const { sink } = await t.watch(session.id);
    await t.send({ type: 'user.message', session_id: session.id, content: [{ type: 'text', text: 'Send it.' }] });
    const request = await t.model.request(1);
    request.stream(
      {
        type: 'message_start',
        usage: { input_tokens: 5, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
      },
      { type: 'block_start', index: 0, block: { type: 'tool_use', id: 'toolu_1', name: 'send_mail', input: {} } },
      { type: 'block_stop', index: 0 },
      { type: 'message_delta', stopReason: 'tool_use', usage: { output_tokens: 9 } },
    );
    request.end();
    await sink.until(() => sink.has('turn.waiting'));
    const use = sink.frames.find((frame) => frame.type === 'agent.tool_use');
    await t.send({
      type: 'user.tool_confirmation',
      session_id: session.id,
      tool_use_id: use?.type === 'agent.tool_use' ? use.id : '',
      result,
    });
    await t.model.request(2);
    let records: readonly AuditRecord[] = [];
    while (records.length < expected.length) {
      await new Promise((resolve) => setImmediate(resolve));
      ({ records } = await t.room.api.listAudit(t.caller, { limit: 10 }));
    }
    expect(records.map(({ kind, outcome }) => `${kind} ${outcome}`).toReversed()).toEqual(expected);
    expect(records.at(-1)).toMatchObject({
      user_id: 'local',
      org_id: 'local',
      session_id: session.id,
      tool: 'send_mail',
      request_id: t.caller.requestId,
    });
  },
);
