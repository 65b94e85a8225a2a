/** Client tools and approvals: who runs what, once, across reconnects, and until when. */
import type { ToolContext } from '../../client-sdk/index.js';
import { closeAll, createTurnWriter, startClient, startFakeServer } from './support/harness.js';

afterEach(closeAll);

const LOOK = { name: 'look', description: 'Looks.', input_schema: { type: 'object' as const }, label: 'Looking' };

async function startCall() {
  const server = await startFakeServer();
  const { client, errors } = startClient(server);
  const session = await client.createSession();
  const runs: { input: unknown; context: ToolContext; finish: (output: unknown) => void; fail: (e: Error) => void }[] =
    [];
  let onRun: (() => void) | undefined;
  const tool = session.tool(LOOK, (input, context) => {
    const output = new Promise((resolve, reject) => runs.push({ input, context, finish: resolve, fail: reject }));
    onRun?.();
    return output;
  });
  await tool.registered;
  const turn = session.prompt('go');
  const { turn_id } = await turn.accepted;
  const writer = createTurnWriter(server, session.id, turn_id);
  writer.start();
  const running = new Promise<void>((resolve) => {
    onRun = resolve;
  });
  return { server, client, session, errors, tool, turn, writer, runs, running };
}

it('registers its tools, again on every connection, and unregisters them', async () => {
  const { server, client, tool } = await startCall();
  expect(await server.command('tools.register')).toMatchObject({ tools: [LOOK] });
  client.drop();
  expect(await server.command('tools.register', 2)).toMatchObject({ tools: [LOOK] });
  tool.unregister();
  expect(await server.command('tools.unregister')).toMatchObject({ names: ['look'] });
});

it('[TOOL-5] runs what is offered to its connection, and nothing else', async () => {
  const { server, writer, runs, running } = await startCall();
  writer.callTool('call_1', 'look', { at: 'theirs' });
  writer.callTool('call_2', 'look', { at: 'ours' });
  writer.offer('call_1', 'conn_other');
  writer.offer('call_2', server.connection.id);
  await running;
  expect(runs.map(({ input }) => input)).toEqual([{ at: 'ours' }]);
  runs[0]!.finish('seen');
  expect(await server.command('user.custom_tool_result')).toMatchObject({
    custom_tool_use_id: 'call_2',
    content: 'seen',
  });
});

it.each([
  ['a string', 'plain', { content: 'plain' }],
  ['blocks', [{ type: 'text', text: 'b' }], { content: [{ type: 'text', text: 'b' }] }],
  ['a result', { content: 'no', is_error: true }, { content: 'no', is_error: true }],
  ['any JSON', { rows: [1, 2] }, { content: '{"rows":[1,2]}' }],
  ['nothing', undefined, {}],
])('sends %s as the result', async (_, output, expected) => {
  const { server, writer, runs, running } = await startCall();
  writer.callTool('call_1', 'look', {});
  writer.offer('call_1', server.connection.id);
  await running;
  runs[0]!.finish(output);
  const { content, is_error } = await server.command('user.custom_tool_result');
  expect({ ...(content !== undefined && { content }), ...(is_error !== undefined && { is_error }) }).toEqual(expected);
});

it('sends what a tool throws as an error result', async () => {
  const { server, writer, runs, running } = await startCall();
  writer.callTool('call_1', 'look', {});
  writer.offer('call_1', server.connection.id);
  await running;
  runs[0]!.fail(new Error('too dark'));
  expect(await server.command('user.custom_tool_result')).toMatchObject({ content: 'too dark', is_error: true });
});

it('[TOOL-7] keeps a call running across a reconnect, runs it once, and answers on the new connection', async () => {
  const { server, client, session, writer, runs, running } = await startCall();
  writer.callTool('call_1', 'look', {});
  writer.offer('call_1', server.connection.id);
  await running;
  client.drop();
  await server.command('session.attach', 2);
  const { seq } = writer.offer('call_1', server.connection.id);
  await new Promise<void>((resolve) => {
    session.subscribe((transcript) => transcript.seq >= seq && resolve());
  });
  expect(runs[0]!.context.signal.aborted).toBe(false);
  runs[0]!.finish('late');
  const result = await server.command('user.custom_tool_result');
  expect(result).toMatchObject({ custom_tool_use_id: 'call_1', content: 'late' });
  expect(result.connection.id).toBe('conn_2');
  expect(runs).toHaveLength(1);
});

it('[TOOL-7] takes up an offered call from a snapshot', async () => {
  const { server, session, writer } = await startCall();
  writer.callTool('call_1', 'look', { from: 'snapshot' });
  const second = startClient(server);
  const inputs: unknown[] = [];
  const started = new Promise<void>((resolve) => {
    second.client.session(session.id).tool(LOOK, (input) => {
      inputs.push(input);
      resolve();
      return 'ok';
    });
  });
  await second.client.attach(session.id);
  writer.offer('call_1', 'conn_2');
  await started;
  expect(inputs).toEqual([{ from: 'snapshot' }]);
});

it.each([
  ['somebody else answered', (writer: Writer) => writer.toolResult('call_1', 'theirs')],
  ['its turn ended', (writer: Writer) => writer.end('cancelled')],
  [
    'its step is run again',
    (writer: Writer) => writer.append({ type: 'step.superseded', discard_event_ids: ['call_1'] }),
  ],
])('aborts a tool’s signal and sends nothing when %s', async (_, happens) => {
  const { server, session, writer, runs, running } = await startCall();
  writer.callTool('call_1', 'look', {});
  writer.offer('call_1', server.connection.id);
  await running;
  const { signal } = runs[0]!.context;
  const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  happens(writer);
  await aborted;
  runs[0]!.finish('too late');
  await session.steer('a command later');
  expect(server.of('user.custom_tool_result')).toEqual([]);
});
type Writer = ReturnType<typeof createTurnWriter>;

it('does not run a call that is resolved by the time it has caught up', async () => {
  const { server, session, client, writer, runs } = await startCall();
  client.drop({ offlineMs: 1 });
  writer.callTool('call_1', 'look', {});
  // The id that the next connection will have: offered and answered before this client read it.
  writer.offer('call_1', 'conn_2');
  writer.toolResult('call_1', 'theirs');
  await server.command('session.attach', 2);
  await session.steer('a command later');
  expect(runs).toEqual([]);
});

it('sends the newest progress, and not more often than the server takes', async () => {
  const { server, session, writer, runs, running } = await startCall();
  writer.callTool('call_1', 'look', {});
  writer.offer('call_1', server.connection.id);
  await running;
  for (let percent = 0; percent <= 100; percent++) runs[0]!.context.progress({ percent });
  expect(await server.command('user.tool_progress', 2)).toMatchObject({ percent: 100 });
  runs[0]!.finish('done');
  await server.command('user.custom_tool_result');
  runs[0]!.context.progress('after the end');
  await session.steer('a command later');
  expect(server.of('user.tool_progress').map(({ percent }) => percent)).toEqual([0, 100]);
});

it('answers with an error when its result is refused, so that the model need not wait', async () => {
  const { server, writer, runs, running, errors } = await startCall();
  server.treat = (frame) => {
    if (frame.type !== 'user.custom_tool_result' || frame.is_error) return 'usual';
    const error = { type: 'x', code: 'payload_too_large', message: 'Too large.', retryable: false };
    frame.connection.send({ type: 'command.rejected', id: frame.id, error });
    return 'ignored';
  };
  writer.callTool('call_1', 'look', {});
  writer.offer('call_1', server.connection.id);
  await running;
  runs[0]!.finish('x'.repeat(1_000));
  expect(await server.command('user.custom_tool_result', 2)).toMatchObject({ is_error: true, content: 'Too large.' });
  expect(errors).toEqual([expect.objectContaining({ code: 'payload_too_large' })]);
});

it('tells who registered it, and onError, when a tool is refused, and registers the others', async () => {
  const { server, session, client, errors } = await startCall();
  server.treat = (frame) => {
    if (frame.type !== 'tools.register' || !frame.tools.some(({ name }) => name === 'bad')) return 'usual';
    const error = { type: 'x', code: 'forbidden', message: 'Not on the list.', retryable: false };
    frame.connection.send({ type: 'command.rejected', id: frame.id, error });
    return 'ignored';
  };
  const bad = session.tool({ ...LOOK, name: 'bad' }, () => '');
  await expect(bad.registered).rejects.toMatchObject({ code: 'forbidden' });
  expect(errors).toHaveLength(1);
  client.drop();
  await server.until(() =>
    server
      .of('tools.register')
      .some(({ tools, connection }) => connection.id === 'conn_2' && tools.length === 1 && tools[0]!.name === 'look'),
  );
});

it('[TOOL-3] asks about a call that waits for an approver, once, and sends the decision with the edited input', async () => {
  const { server, session, client, writer } = await startCall();
  let asked = 0;
  session.onApproval(({ name, input }) => {
    asked += 1;
    return { result: 'allow', updated_input: { ...input, edited: name } };
  });
  writer.callTool('call_1', 'send', { to: 'bob' }, 'ask');
  const decision = await server.command('user.tool_confirmation');
  expect(decision).toMatchObject({
    tool_use_id: 'call_1',
    result: 'allow',
    updated_input: { to: 'bob', edited: 'send' },
  });
  client.drop();
  await server.command('session.attach', 2);
  await session.steer('a command later');
  expect(asked).toBe(1);
});

it('[TOOL-7] asks about a call that it learns of from a snapshot', async () => {
  const { server, session, writer } = await startCall();
  writer.callTool('call_1', 'send', {}, 'ask');
  const second = startClient(server).client.session(session.id);
  second.onApproval(() => ({ result: 'deny', deny_message: 'no' }));
  expect(await server.command('user.tool_confirmation')).toMatchObject({ result: 'deny', deny_message: 'no' });
});

it('aborts an approver’s signal when somebody else decided, and sends nothing', async () => {
  const { server, session, writer } = await startCall();
  const decided = new Promise<void>((resolve) => {
    session.onApproval(
      ({ signal }) =>
        new Promise((answer) =>
          signal.addEventListener('abort', () => {
            resolve();
            answer({ result: 'allow' });
          }),
        ),
    );
  });
  writer.callTool('call_1', 'send', {}, 'ask');
  writer.append({ type: 'user.tool_confirmation', tool_use_id: 'call_1', result: 'deny', command_id: 'c' });
  await decided;
  await session.steer('a command later');
  expect(server.of('user.tool_confirmation')).toEqual([]);
});
