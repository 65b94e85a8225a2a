/** A prompt from the moment it is made to its end: events, text, cancel, steer, refusal. */
import { MidstreamError } from '../../client-sdk/index.js';
import { closeAll, collect, createTurnWriter, startClient, startFakeServer } from './support/harness.js';

afterEach(closeAll);

async function startTurn(text = 'hello') {
  const server = await startFakeServer();
  const { client, errors } = startClient(server);
  const session = await client.createSession();
  const turn = session.prompt(text);
  const { turn_id: turnId } = await turn.accepted;
  return { server, client, session, turn, turnId, errors, writer: createTurnWriter(server, session.id, turnId) };
}

it('yields the events of its turn, from the echo to turn.ended, and no other’s', async () => {
  const { turn, writer, server, session } = await startTurn();
  const other = createTurnWriter(server, session.id, 'turn_other');
  writer.start();
  other.start();
  writer.startMessage('m1');
  writer.delta('m1', 'Hi');
  other.delta('m2', 'not mine');
  writer.message('m1', 'Hi');
  writer.end();
  const types = (await collect(turn)).map((event) => event.type);
  expect(types).toEqual([
    ...['user.message', 'turn.started', 'event_start', 'event_delta', 'agent.message', 'turn.ended'],
  ]);
  await expect(turn.text).resolves.toBe('Hi');
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'end_turn', partial: false, cost_usd: 0.001 });
});

it('gives the text of several messages, each piece once, whether or not its deltas came', async () => {
  const { turn, writer } = await startTurn();
  writer.startMessage('m1');
  writer.delta('m1', 'One');
  writer.message('m1', 'One more');
  writer.message('m2', 'Two');
  writer.end();
  const pieces: string[] = [];
  for await (const piece of turn.textStream()) pieces.push(piece);
  expect(pieces).toEqual(['One', ' more', '\n\nTwo']);
  await expect(turn.text).resolves.toBe('One more\n\nTwo');
});

it('merges adjacent deltas for a reader that is behind, and loses nothing', async () => {
  const { turn, writer, session } = await startTurn();
  writer.start();
  writer.startMessage('m1');
  for (let at = 0; at < 500; at++) writer.delta('m1', `${at} `);
  writer.message('m1', 'whole');
  const ended = writer.end();
  await turn.ended;
  const events = await collect(turn);
  expect(events.length).toBeLessThan(8);
  const text = events
    .map((event) =>
      event.type === 'event_delta' && event.delta.type === 'content_delta' ? event.delta.content.text : '',
    )
    .join('');
  expect(text).toBe(Array.from({ length: 500 }, (_, at) => `${at} `).join(''));
  // The merged frame proves its wholeness as one of the server would (LOG-3).
  let last = events[0]!.seq - 1;
  for (const event of events) {
    expect(event.prev_seq ?? event.seq - 1).toBe(last);
    last = event.seq;
  }
  expect(last).toBe(ended.seq);
  expect(session.transcript.items.at(-1)).toMatchObject({ kind: 'end' });
});

it('[NODE-2] takes the text of a superseded step back', async () => {
  const { turn, writer } = await startTurn();
  writer.startMessage('m1');
  writer.delta('m1', 'taken back');
  writer.append({ type: 'step.superseded', step: 1, discard_event_ids: ['m1'] });
  writer.message('m2', 'said again');
  writer.end();
  await expect(turn.text).resolves.toBe('said again');
});

it('[CAN-1] cancels by the command’s id before the reply came, by the turn’s id after', async () => {
  const server = await startFakeServer();
  const session = await startClient(server).client.createSession();
  server.treat = (frame) => (frame.type === 'user.message' ? 'ignored' : 'usual');
  const turn = session.prompt('never mind');
  await server.command('user.message');
  await turn.cancel({ reason: 'changed my mind' });
  expect(await server.command('user.interrupt')).toMatchObject({
    command_id: turn.commandId,
    reason: 'changed my mind',
  });

  server.treat = () => 'usual';
  const second = session.prompt('again');
  const { turn_id } = await second.accepted;
  await expect(second.cancel()).resolves.toMatchObject({ outcome: 'cancelled' });
  expect(await server.command('user.interrupt', 2)).toMatchObject({ turn_id });
});

it('[CAN-1] takes a prompt back that was never sent', async () => {
  const server = await startFakeServer();
  const { client } = startClient(server);
  const session = await client.createSession();
  client.drop({ offlineMs: 60_000 });
  const turn = session.prompt('offline');
  await expect(turn.cancel()).resolves.toEqual({ outcome: 'cancelled' });
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'cancelled' });
  expect(await collect(turn)).toEqual([]);
  expect(server.of('user.message')).toEqual([]);
});

it('cancels when the signal that it was given aborts', async () => {
  const { server, session } = await startTurn();
  const controller = new AbortController();
  const turn = session.prompt('with a signal', { signal: controller.signal });
  const { turn_id } = await turn.accepted;
  controller.abort();
  expect(await server.command('user.interrupt')).toMatchObject({ turn_id });
});

it('steers the turn that it is', async () => {
  const { server, turn, turnId } = await startTurn();
  await expect(turn.steer('shorter', { apply: 'now' })).resolves.toMatchObject({ outcome: 'pending' });
  expect(await server.command('user.steer')).toMatchObject({ turn_id: turnId, content: 'shorter', apply: 'now' });
});

it('rejects everything that waits on it when the prompt is refused, with the code and what to do', async () => {
  const server = await startFakeServer();
  const session = await startClient(server).client.createSession();
  server.treat = ({ type, id, connection }) => {
    if (type !== 'user.message') return 'usual';
    const error = { type: 'rate_limit_error', code: 'budget_exhausted', message: 'Spent.', retryable: false };
    connection.send({ type: 'command.rejected', id, error: { ...error, details: { resets_at: 'soon' } } });
    return 'ignored';
  };
  const turn = session.prompt('too much');
  const error: unknown = await turn.ended.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(MidstreamError);
  expect(error).toMatchObject({ code: 'budget_exhausted', message: 'Spent.', details: { resets_at: 'soon' } });
  await expect(turn.accepted).rejects.toBe(error);
  await expect(turn.text).rejects.toBe(error);
  await expect(collect(turn)).rejects.toBe(error);
});

it('turns a code that it does not know into the nearest band', async () => {
  const server = await startFakeServer();
  const session = await startClient(server).client.createSession();
  server.treat = ({ type, id, connection }) => {
    if (type !== 'user.steer') return 'usual';
    connection.send({
      type: 'command.rejected',
      id,
      error: { type: 'x', code: 'too_purple', message: 'No.', retryable: false },
    });
    return 'ignored';
  };
  await expect(session.steer('x')).rejects.toMatchObject({ code: 'invalid_request', details: { code: 'too_purple' } });
});

it('[TURN-2] follows a steering prompt into the turn that it became when it missed the running one', async () => {
  const { server, session, turnId, writer } = await startTurn();
  writer.start();
  server.treat = (frame) => {
    if (frame.type !== 'user.message') return 'usual';
    const ids = { turn_id: turnId, message_id: 'sevt_steer', steer_id: 'sevt_steer', position: 0 };
    const echo = { type: 'user.message', command_id: frame.id, content: [{ type: 'text', text: 'also' }], ...ids };
    const { seq } = server.append(session.id, echo);
    frame.connection.send({ type: 'command.accepted', id: frame.id, applied_at_seq: seq, result: ids });
    return 'ignored';
  };
  const steering = session.prompt('also', { on_busy: 'steer' });
  await steering.accepted;
  writer.message('m1', 'first answer');
  server.append(session.id, { type: 'turn.queued', turn_id: 'turn_own', steer_id: 'sevt_steer', position: 0 });
  writer.end();
  const own = createTurnWriter(server, session.id, 'turn_own');
  own.start();
  own.message('m2', 'second answer');
  own.end();
  await expect(steering.ended).resolves.toMatchObject({ stop_reason: 'end_turn' });
  expect(steering.turnId).toBe('turn_own');
  await expect(steering.text).resolves.toContain('second answer');
});

it('refuses what is more than may wait for replies', async () => {
  const server = await startFakeServer();
  const { client } = startClient(server, { maxPendingCommands: 3 });
  const session = await client.createSession();
  client.drop({ offlineMs: 60_000 });
  const turns = [1, 2, 3, 4].map((at) => session.prompt(`number ${at}`));
  await expect(turns[3]!.accepted).rejects.toMatchObject({ code: 'overloaded' });
});

it('[CMD-4] settles every promise when the client is closed, and cancels nothing at the server', async () => {
  const { server, client, session, turn } = await startTurn();
  server.treat = () => 'ignored';
  const steer = session.steer('no answer');
  await server.command('user.steer');
  client.close();
  const closed = { code: 'draining', details: { closed_by: 'client' } };
  await expect(turn.ended).rejects.toMatchObject(closed);
  await expect(steer).rejects.toMatchObject(closed);
  await expect(collect(turn)).rejects.toMatchObject(closed);
  await expect(session.prompt('late').accepted).rejects.toMatchObject(closed);
  await expect(client.attach('sesn_9')).rejects.toMatchObject(closed);
  expect(server.of('user.interrupt')).toEqual([]);
});
