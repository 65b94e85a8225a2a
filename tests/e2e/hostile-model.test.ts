/** A model that was turned: it asks for names that every object has, huge inputs, and hopes for an approver who edits. */
import type { AuditRecord, LoggedEvent } from '../../protocol/index.js';
import { type Service, startTestService } from '../support/service.js';
import { callHttp } from '../support/blackbox-http.js';
import { WsRecorder } from '../support/ws-recorder.js';

const PRIVATE = 'heliotrope';
const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf'];
const ran: { name: string; input: unknown }[] = [];
const tool = (name: string) => ({
  name,
  description: name,
  input_schema: { type: 'object' as const },
  run: async (input: unknown) => {
    ran.push({ name, input });
    return 'done';
  },
});
const use = (name: string, input: object = {}) => ({ type: 'tool_use', name, input: { ...input } });
const obeying = (message: string, ...calls: object[]) => ({
  match: { text: message },
  steps: [{ blocks: calls }, { blocks: [{ type: 'text', text: 'I could not.' }] }],
});
/** Deeper and longer than anybody means. */
const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) });

let server: Service;
beforeAll(async () => {
  server = await startTestService({
    tools: [tool('search'), tool('send_mail'), tool('note')],
    config: {
      agents: { default: { tools: ['*'], max_tokens: 60_000 } },
      roles: {
        admin: {
          tools: {
            allow: ['*'],
            ask: ['send_*'],
            input: {
              search: { type: 'object', properties: { region: { const: 'EU' } }, required: ['region'] },
              send_mail: { type: 'object', properties: { to: { const: 'bob' } }, required: ['to'] },
            },
          },
          models: ['*'],
          approve: ['*'],
          inspect: true,
        },
      },
      client_tools: ['*'],
    },
    script: {
      turns: [
        obeying('names', ...NAMES.map((name) => use(name, { [PRIVATE]: 1 }))),
        obeying(
          'huge',
          use('search', { region: PRIVATE.repeat(2_000) }),
          use('search', deep(900)),
          use('note', { text: 'x'.repeat(50_000) }),
        ),
        obeying('proto', {
          type: 'tool_use',
          name: 'search',
          input: JSON.parse('{"__proto__":{"region":"EU"},"constructor":{"prototype":{"region":"EU"}}}'),
        }),
        obeying('mail', use('send_mail', { to: 'bob' })),
      ],
    },
  });
});
beforeEach(() => void ran.splice(0));
afterAll(() => server.dispose());

async function auditOf(turnId: string): Promise<AuditRecord[]> {
  const { body } = await callHttp(server.url, 'GET', '/v1/audit?limit=1000');
  return (body.data as AuditRecord[]).filter((record) => record.turn_id === turnId).toReversed();
}

/** One prompt, and what was made of it. */
async function prompt(message: string) {
  const created = await callHttp(server.url, 'POST', '/v1/sessions', {});
  const asked = { message, conversation_id: created.body.id, stream: false };
  const { status, body } = await callHttp(server.url, 'POST', '/v1/chat', asked);
  const log = await callHttp(server.url, 'GET', `/v1/sessions/${created.body.id}/events?limit=1000`);
  return { status, body, events: log.body.data as LoggedEvent[], audit: await auditOf(body.turn_id) };
}
const outcomes = (events: readonly LoggedEvent[]) =>
  events.flatMap((event) => (event.type === 'agent.tool_result' ? [event.outcome] : []));

it('[TOOL-1] denies names that every object has, and the turn goes on', async () => {
  const { status, body, events, audit } = await prompt('names');
  expect([status, body.response]).toEqual([200, 'I could not.']);
  expect(ran).toEqual([]);
  expect(outcomes(events)).toEqual(NAMES.map(() => 'denied'));
  expect(audit.map(({ kind, tool: name }) => [kind, name])).toEqual(NAMES.map((name) => ['denial', name]));
  expect(JSON.stringify(audit)).not.toContain(PRIVATE);
});

it.each(NAMES)('[TOOL-1] %s is no server tool to be called, and no client tool that breaks a turn', async (name) => {
  const direct = await callHttp(server.url, 'POST', `/v1/tools/${name}/call`, { input: {} });
  expect([direct.status, direct.body.error.code]).toEqual([404, 'not_found']);
  const alice = await WsRecorder.connect(server.wsUrl);
  const id = await alice.openSession();
  const schema = { type: 'object' as const };
  await alice.request({
    type: 'tools.register',
    session_id: id,
    tools: [{ name, description: name, input_schema: schema }],
  });
  const { result } = await alice.prompt(id, 'Hello');
  expect((await alice.event('turn.ended', { turnId: result.turn_id })).stop_reason).toBe('end_turn');
  await alice.drop();
});

it('[TOOL-1] runs nothing beyond the constraint, however large or deep the input is', async () => {
  const { status, events, audit } = await prompt('huge');
  expect(status).toBe(200);
  expect(ran.map(({ name }) => name)).toEqual(['note']);
  expect(outcomes(events)).toEqual(['denied', 'denied', 'ok']);
  expect(JSON.stringify(audit)).not.toContain(PRIVATE);
  expect(JSON.stringify(audit).length).toBeLessThan(5_000);
});

it('[TOOL-1] an input’s own __proto__ satisfies no constraint', async () => {
  const { events } = await prompt('proto');
  expect(ran).toEqual([]);
  expect(outcomes(events)).toEqual(['denied']);
  expect(({} as Record<string, unknown>)['region']).toBeUndefined();
});

it('[TOOL-3] an approver can’t edit an input beyond the constraint: it is denied, and on record', async () => {
  const alice = await WsRecorder.connect(server.wsUrl);
  const id = await alice.openSession();
  const { result } = await alice.prompt(id, 'mail');
  const call = await alice.event('agent.tool_use', { turnId: result.turn_id });
  await alice.event('turn.waiting');
  const edited = await alice.refused({
    type: 'user.tool_confirmation',
    session_id: id,
    tool_use_id: call.id,
    result: 'allow',
    updated_input: { to: PRIVATE },
  });
  expect(edited.code).toBe('forbidden_tool');
  await alice.accepted({ type: 'user.tool_confirmation', session_id: id, tool_use_id: call.id, result: 'deny' });
  await alice.event('turn.ended', { turnId: result.turn_id });
  expect(ran).toEqual([]);
  const { body } = await callHttp(server.url, 'GET', '/v1/audit?limit=1000');
  const audit = (body.data as AuditRecord[]).filter((record) => record.tool_use_id === call.id).toReversed();
  expect(audit.map(({ kind, rule, outcome }) => [kind, rule, outcome])).toEqual([
    ['denial', 'user.tool_confirmation: Denied: role admin: input of send_mail', 'denied'],
    ['approval', undefined, 'denied'],
    ['denial', 'denied by local', 'denied'],
  ]);
  expect(JSON.stringify(body)).not.toContain(PRIVATE);
  await alice.drop();
});
