/** Tools over a real WebSocket: HTTP tools, client tools, approvals, and what happens when two answer at once. */
import {
  manualReply,
  type Reply,
  type ReplyBlock,
  startUpstream,
  textReply,
  type Upstream,
} from '../support/upstream/index.js';
import { PRIVATE } from '../support/blackbox-server.js';
import { type Service, startService } from '../support/service.js';
import { startToolServer, type ToolServer } from '../support/blackbox-tools.js';
import { Watchers } from '../support/ws-watchers.js';

let upstream: Upstream;
let tools: ToolServer;
let server: Service;
const watchers = new Watchers(() => server.wsUrl);

const EDIT = {
  name: 'edit_document',
  description: 'Edits the document that the user has open.',
  input_schema: { type: 'object' as const, properties: { text: { type: 'string' } }, required: ['text'] },
  label: 'Editing…',
};

beforeAll(async () => {
  [upstream, tools] = await Promise.all([startUpstream(), startToolServer()]);
  server = await startService({
    upstream,
    env: { FILINGS_KEY: `key-${PRIVATE}` },
    config: {
      tools: [
        tools.toolConfig('search_filings', {
          input_schema: { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] },
          http: {
            url: tools.toolConfig('search_filings').http.url,
            // biome-ignore lint/suspicious/noTemplateCurlyInString: the server fills it in.
            headers: { Authorization: '${env:FILINGS_KEY}' },
          },
        }),
        tools.toolConfig('send_mail'),
        tools.toolConfig('drop_table'),
      ],
      client_tools: ['edit_*', 'send_*'],
      roles: {
        admin: {
          tools: { allow: ['*'], ask: ['send_*'], deny: ['drop_*'] },
          models: ['*'],
          approve: ['*'],
        },
      },
      limits: { tool_result_bytes: 2_000 },
    },
  });
});

afterEach(async () => {
  tools.handle(undefined);
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await Promise.all([upstream.close(), tools.close()]);
});

let callCount = 0;
const call = (name: string, input: Record<string, unknown>): ReplyBlock & { id: string } => ({
  type: 'tool_use',
  id: `toolu_${++callCount}`,
  name,
  input,
});
const calling = (...blocks: readonly ReplyBlock[]): Reply => ({ blocks });

/** The results that the last request gave back to the model, in order. */
const resultsOf = (request = upstream.requests.at(-1)): readonly Record<string, unknown>[] => {
  const messages = request?.body['messages'] as { content: Record<string, unknown>[] }[];
  return messages.at(-1)?.content.filter((block) => block['type'] === 'tool_result') ?? [];
};

/** The tools that the last request offered to the model. */
function offeredNames(): readonly string[] {
  const offered = upstream.requests.at(-1)?.body['tools'] as { name: string }[] | undefined;
  return offered?.map((tool) => tool.name) ?? [];
}

describe('HTTP tools', () => {
  it('runs the calls of a step in parallel and gives the results back in call order [TOOL-6]', async () => {
    const [first, second] = [
      call('search_filings', { query: `one ${PRIVATE}` }),
      call('search_filings', { query: 'two' }),
    ];
    upstream.script([calling({ type: 'text', text: 'I look.' }, first, second), textReply('Found both.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, `Search, ${PRIVATE}.`);
    const one = await tools.waitForCall((c) => String(c.body.input['query']).startsWith('one'));
    const two = await tools.waitForCall((c) => c.body.input['query'] === 'two');
    two.answer('the second');
    await client.event('agent.tool_result', { turnId: result.turn_id });
    one.answer('the first');
    expect(await client.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'end_turn' });
    expect(resultsOf().map((block) => [block['tool_use_id'], JSON.stringify(block['content'])])).toEqual([
      [first.id, expect.stringContaining('the first')],
      [second.id, expect.stringContaining('the second')],
    ]);
    const use = await client.event('agent.tool_use', { turnId: result.turn_id });
    expect(one.headers).toMatchObject({ authorization: `key-${PRIVATE}`, 'idempotency-key': use.id });
    expect(one.body).toMatchObject({
      tool_use_id: use.id,
      session_id: sessionId,
      turn_id: result.turn_id,
      user_id: 'local',
    });
    const ended = client.events(sessionId).filter((event) => event.type === 'agent.tool_result');
    expect(ended.map((event) => 'outcome' in event && event.outcome)).toEqual(['ok', 'ok']);
  });

  it('[TOOL-4] starts no server tool before its step is complete', async () => {
    const reply = manualReply();
    upstream.script([reply, textReply('Done.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, PRIVATE);
    const before = tools.calls.length;
    await reply.start();
    reply.toolUse('toolu_manual_1', 'search_filings', { query: 'early' });
    reply.openText(1);
    reply.text('And more.', 1);
    await client.event('event_delta', { turnId: result.turn_id });
    await client.waitFor(
      (f) => f.type === 'event_delta' && f.delta.type === 'content_delta',
      'the text behind the call',
    );
    expect(tools.calls.length).toBe(before);
    reply.closeBlock(1);
    reply.finish('tool_use');
    (await tools.waitForCall((c) => c.body.input['query'] === 'early')).answer('ok');
    await client.event('turn.ended', { turnId: result.turn_id });
  });

  it('tells the model about a failure, a denial and an input that does not fit, and goes on [TOOL-2]', async () => {
    const calls = [
      call('search_filings', { query: 'broken' }),
      call('search_filings', { nonsense: true }),
      call('unheard_of', {}),
    ];
    upstream.script([calling(...calls), textReply('I see.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, PRIVATE);
    (await tools.waitForCall((c) => c.body.input['query'] === 'broken')).answer('no', 500);
    expect(await client.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'end_turn' });
    const outcomes = client
      .events(sessionId)
      .flatMap((e) => (e.type === 'agent.tool_result' ? [[e.outcome, e.is_error]] : []));
    expect(outcomes.sort()).toEqual([
      ['denied', true],
      ['error', true],
      ['error', true],
    ]);
    expect(resultsOf().map((block) => block['is_error'])).toEqual([true, true, true]);
    expect((await client.event('tool.denied', { turnId: result.turn_id })).rule).toContain('unheard_of');
  });

  it('[TOOL-1] never offers what the role denies, and never runs it', async () => {
    upstream.script([calling(call('drop_table', { table: 'users' })), textReply('I may not.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    await watchers.turn(client, sessionId, `Drop it, ${PRIVATE}.`);
    const offered = offeredNames();
    expect(offered).toEqual(['search_filings', 'send_mail']);
    expect(tools.calls.some((c) => c.name === 'drop_table')).toBe(false);
    expect(client.events(sessionId).some((event) => event.type === 'tool.denied')).toBe(true);
  });

  it('[TOOL-6] cuts a result that is too long, with a note', async () => {
    tools.handle(() => 'x'.repeat(50_000));
    upstream.script([calling(call('search_filings', { query: 'long' })), textReply('Long.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    await watchers.turn(client, sessionId, PRIVATE);
    expect(JSON.stringify(resultsOf()[0]?.['content']).length).toBeLessThan(3_000);
  });

  it('takes a steer along behind the results', async () => {
    upstream.script([calling(call('search_filings', { query: 'steered' })), textReply('Steered.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, PRIVATE);
    const running = await tools.waitForCall((c) => c.body.input['query'] === 'steered');
    const steer = await client.accepted({ type: 'user.steer', session_id: sessionId, content: 'Only of 2026.' });
    expect(steer.result).toMatchObject({ turn_id: result.turn_id, outcome: 'pending' });
    running.answer('found');
    await client.event('turn.ended', { turnId: result.turn_id });
    expect((await client.event('steer.joined', { turnId: result.turn_id })).steer_id).toBe(steer.result.steer_id);
    const messages = upstream.requests.at(-1)?.body['messages'] as { content: { type: string }[] }[] | undefined;
    expect(messages?.at(-1)?.content.map((block) => block.type)).toEqual(['tool_result', 'text']);
  });

  it('passes tool_choice to the first step only, and refuses it where the model forbids it', async () => {
    tools.handle(() => 'found');
    upstream.script([calling(call('search_filings', { query: 'forced' })), textReply('Forced.')]);
    const client = await watchers.connect();
    const sessionId = await client.openSession({ agent: { model: 'claude-sonnet-4-6' } });
    const choice = { type: 'tool' as const, name: 'search_filings' };
    const before = upstream.requests.length;
    await watchers.turn(client, sessionId, PRIVATE, { tool_choice: choice });
    expect(upstream.requests.slice(before).map(({ body }) => body['tool_choice'])).toEqual([
      expect.objectContaining(choice),
      undefined,
    ]);
    const message = { type: 'user.message' as const, session_id: sessionId, content: 'Now.', tool_choice: choice };
    const error = await client.refused({ ...message, model: 'claude-sonnet-5-5' });
    expect(error.code).toBe('invalid_request');
  });
});

describe('client tools', () => {
  async function registered() {
    const [runner, other] = await watchers.connectMany(2);
    const sessionId = await runner.openSession();
    await other.attach(sessionId);
    await runner.accepted({ type: 'tools.register', session_id: sessionId, tools: [EDIT] });
    return { runner, other, sessionId };
  }

  it('[TOOL-4] [TOOL-5] offers a call while the model still streams, and takes its result then', async () => {
    const reply = manualReply();
    upstream.script([reply, textReply('Edited.')]);
    const { runner, other, sessionId } = await registered();
    const { result } = await other.prompt(sessionId, `Edit it, ${PRIVATE}.`);
    await reply.start();
    reply.toolUse('toolu_edit', 'edit_document', { text: `New ${PRIVATE}` });
    const use = await runner.event('agent.custom_tool_use', { turnId: result.turn_id });
    expect(use).toMatchObject({ name: 'edit_document', label: 'Editing…', evaluated_permission: 'allow' });
    const offer = await runner.event('tool.offered', { turnId: result.turn_id });
    expect(offer).toMatchObject({ tool_use_id: use.id, connection_id: runner.connectionId });
    await runner.accepted({
      type: 'user.tool_progress',
      session_id: sessionId,
      custom_tool_use_id: use.id,
      message: 'Half',
      percent: 50,
    });
    await runner.accepted({
      type: 'user.custom_tool_result',
      session_id: sessionId,
      custom_tool_use_id: use.id,
      content: 'saved',
    });
    await other.event('agent.tool_result', { turnId: result.turn_id });
    expect(upstream.requests.at(-1)?.closing).toBeUndefined();
    reply.openText(1);
    reply.text('While that runs …', 1);
    reply.closeBlock(1);
    reply.finish('tool_use');
    await other.event('turn.ended', { turnId: result.turn_id });
    expect(resultsOf()).toMatchObject([{ tool_use_id: 'toolu_edit' }]);
    expect(other.events(sessionId)).toContainEqual(
      expect.objectContaining({ type: 'tool.progress', percent: 50, message: 'Half' }),
    );
    expect(other.events(sessionId).some((event) => event.type === 'turn.waiting')).toBe(false);
  });

  it('[TOOL-4] takes exactly one of two results that race, and tells the other', async () => {
    for (let round = 0; round < 10; round += 1) {
      upstream.script([calling(call('edit_document', { text: 'raced' })), textReply('One won.')]);
      const { runner, other, sessionId } = await registered();
      const { result } = await runner.prompt(sessionId, PRIVATE);
      const use = await runner.event('agent.custom_tool_use', { turnId: result.turn_id });
      await Promise.all([runner, other].map((c) => c.event('tool.offered', { turnId: result.turn_id })));
      const answer = (content: string) => ({
        type: 'user.custom_tool_result' as const,
        session_id: sessionId,
        custom_tool_use_id: use.id,
        content,
      });
      const replies = await Promise.all([runner.request(answer('mine')), other.request(answer('theirs'))]);
      const codes = replies.map((reply) => (reply.type === 'command.rejected' ? reply.error.code : 'accepted'));
      expect([...codes].sort()).toEqual(['accepted', 'already_resolved']);
      await runner.event('turn.ended', { turnId: result.turn_id });
      expect(JSON.stringify(resultsOf()[0])).toContain(codes[0] === 'accepted' ? 'mine' : 'theirs');
      const results = runner.events(sessionId).filter((event) => event.type === 'agent.tool_result');
      expect(results).toHaveLength(1);
      await watchers.release();
    }
  });

  it('[TOOL-7] [TURN-4] waits for a result, shows it to whoever comes, and goes on when it is there', async () => {
    upstream.script([calling(call('edit_document', { text: 'later' })), textReply('Late.')]);
    const { runner, sessionId } = await registered();
    const { result } = await runner.prompt(sessionId, PRIVATE);
    const waiting = await runner.event('turn.waiting', { turnId: result.turn_id });
    const idle = await runner.event('session.status_idle', { sessionId });
    expect(idle.stop_reason).toMatchObject({ type: 'requires_action', event_ids: [waiting.pending[0]?.tool_use_id] });
    const late = await watchers.connect();
    const { snapshot } = await late.attach(sessionId);
    expect(snapshot?.pending).toMatchObject([{ kind: 'tool_result', name: 'edit_document', input: { text: 'later' } }]);
    const id = waiting.pending[0]?.tool_use_id ?? '';
    await late.accepted({
      type: 'user.custom_tool_result',
      session_id: sessionId,
      custom_tool_use_id: id,
      content: 'now',
    });
    await late.event('turn.resumed', { turnId: result.turn_id });
    expect(await late.event('turn.ended', { turnId: result.turn_id })).toMatchObject({ stop_reason: 'end_turn' });
  });

  it('names what can’t be answered: unknown calls, calls of a server tool, tools of others', async () => {
    upstream.script([calling(call('search_filings', { query: 'slow' })), textReply('ok')]);
    const { runner, other, sessionId } = await registered();
    const answer = { type: 'user.custom_tool_result' as const, session_id: sessionId, content: 'x' };
    expect((await runner.refused({ ...answer, custom_tool_use_id: 'nonsense' })).code).toBe('tool_call_not_found');
    await runner.prompt(sessionId, PRIVATE);
    const slow = await tools.waitForCall((c) => c.body.input['query'] === 'slow');
    const refused = await runner.refused({ ...answer, custom_tool_use_id: slow.body.tool_use_id });
    expect(refused.code).toBe('invalid_request');
    const register = { type: 'tools.register' as const, session_id: sessionId };
    expect((await other.refused({ ...register, tools: [{ ...EDIT, name: 'search_filings' }] })).code).toBe(
      'invalid_request',
    );
    expect((await other.refused({ ...register, tools: [{ ...EDIT, name: 'wipe_disk' }] })).code).toBe('forbidden_tool');
    const another = { ...EDIT, input_schema: { type: 'object' as const } };
    expect((await other.refused({ ...register, tools: [another] })).code).toBe('invalid_request');
    slow.answer('done');
    await runner.event('session.status_idle', { sessionId });
  });

  it('no longer offers a tool whose connection went or took it back', async () => {
    upstream.script(() => textReply('ok'));
    const { runner, other, sessionId } = await registered();
    const offered = async (): Promise<readonly string[]> => {
      await watchers.turn(other, sessionId, PRIVATE);
      return offeredNames();
    };
    expect(await offered()).toContain('edit_document');
    await runner.accepted({ type: 'tools.unregister', session_id: sessionId, names: ['edit_document'] });
    expect(await offered()).not.toContain('edit_document');
    await runner.accepted({ type: 'tools.register', session_id: sessionId, tools: [EDIT] });
    expect(await offered()).toContain('edit_document');
  });
});

describe('approvals', () => {
  async function asked(input: Record<string, unknown> = { to: 'ada' }) {
    upstream.script([calling(call('send_mail', input)), textReply('Sent or not.')]);
    const [client, approver] = await watchers.connectMany(2);
    const sessionId = await client.openSession();
    await approver.attach(sessionId);
    const { result } = await client.prompt(sessionId, `Send it, ${PRIVATE}.`);
    const waiting = await approver.event('turn.waiting', { turnId: result.turn_id });
    const [pending] = waiting.pending;
    expect(pending?.kind).toBe('confirmation');
    const confirm = {
      type: 'user.tool_confirmation' as const,
      session_id: sessionId,
      tool_use_id: pending?.tool_use_id ?? '',
    };
    return { client, approver, sessionId, turnId: result.turn_id as string, confirm };
  }

  it('[TOOL-3] runs the call when somebody allows it, and not before', async () => {
    const { client, approver, turnId, confirm } = await asked({ to: 'allowed' });
    expect(tools.calls.some((c) => c.body.turn_id === turnId)).toBe(false);
    await approver.accepted({ ...confirm, result: 'allow' });
    (await tools.waitForCall((c) => c.body.turn_id === turnId)).answer('sent');
    expect(await client.event('turn.ended', { turnId })).toMatchObject({ stop_reason: 'end_turn' });
    expect(await client.event('agent.tool_use', { turnId })).toMatchObject({ evaluated_permission: 'ask' });
  });

  it('[TOOL-3] tells the model that it was denied, and why', async () => {
    const { client, approver, turnId, confirm } = await asked();
    await approver.accepted({ ...confirm, result: 'deny', deny_message: 'Not on a Sunday.' });
    await client.event('turn.ended', { turnId });
    expect(JSON.stringify(resultsOf())).toContain('Not on a Sunday.');
    expect(tools.calls.some((c) => c.body.turn_id === turnId)).toBe(false);
    expect((await approver.refused({ ...confirm, result: 'allow' })).code).toBe('already_resolved');
  });

  it('[TOOL-3] runs the call with the input that the approver edited', async () => {
    const { client, approver, turnId, confirm } = await asked({ to: 'everybody' });
    await approver.accepted({ ...confirm, result: 'allow', updated_input: { to: 'ada' } });
    const ran = await tools.waitForCall((c) => c.body.turn_id === turnId);
    expect(ran.body.input).toEqual({ to: 'ada' });
    ran.answer('sent');
    await client.event('turn.ended', { turnId });
    expect(JSON.stringify(resultsOf())).toContain('ada');
  });

  it('[TOOL-3] lets one of two approvers decide', async () => {
    const { client, approver, turnId, confirm } = await asked();
    const replies = await Promise.all([
      client.request({ ...confirm, result: 'deny' }),
      approver.request({ ...confirm, result: 'deny' }),
    ]);
    const codes = replies.map((reply) => (reply.type === 'command.rejected' ? reply.error.code : 'accepted'));
    expect(codes.sort()).toEqual(['accepted', 'already_resolved']);
    await client.event('turn.ended', { turnId });
  });
});
