/** Connections that break at any point: what was under way arrives once, and nothing of the log is lost. */
import type { SessionEvent } from '../../protocol/events.js';
import type { Attached, Session } from '../../client-sdk/index.js';
import { createRandom } from './support/random.js';
import { closeAll, collect, createTurnWriter, startClient, startFakeServer } from './support/harness.js';

afterEach(closeAll);

async function startSession() {
  const server = await startFakeServer();
  const started = startClient(server);
  const session = await started.client.createSession();
  return { server, session, ...started };
}

const seqsOf = (session: Session): number[] => {
  const seqs: number[] = [];
  session.subscribe((_, event) => event && seqs.push(event.seq));
  return seqs;
};

const attachesOf = (session: Session): Attached[] => {
  const attaches: Attached[] = [];
  session.onAttached((attached) => attaches.push(attached));
  return attaches;
};

/** Resolves when the session's transcript is read up to `seq`. */
const readUpTo = (session: Session, seq: number): Promise<void> =>
  new Promise((resolve) => {
    if (session.transcript.seq >= seq) return resolve();
    const stop = session.subscribe((transcript) => {
      if (transcript.seq < seq) return;
      stop();
      resolve();
    });
  });

it('[LOG-4] resumes by its cursor after a drop in mid-turn, and gets every event once', async () => {
  const { server, session, client } = await startSession();
  const seqs = seqsOf(session);
  const attaches = attachesOf(session);
  const turn = session.prompt('go');
  const writer = createTurnWriter(server, session.id, (await turn.accepted).turn_id);
  writer.start();
  writer.startMessage('m1');
  writer.delta('m1', 'before ');
  await readUpTo(session, 4);
  client.drop();
  writer.delta('m1', 'during ');
  await server.until(() => server.of('session.attach').length === 2);
  writer.delta('m1', 'after');
  writer.message('m1', 'before during after');
  const end = writer.end();
  await expect(turn.text).resolves.toBe('before during after');
  await readUpTo(session, end.seq + 1);
  expect(await server.command('session.attach', 2)).toMatchObject({ after_seq: 4, epoch: 'e1', deltas: true });
  expect(seqs).toEqual(Array.from({ length: end.seq + 1 }, (_, at) => at + 1));
  expect(attaches).toEqual([expect.objectContaining({ mode: 'replay', afterSeq: 4, gaps: 0 })]);
});

it('[CMD-2] sends an unanswered prompt again under its id when its reply was lost', async () => {
  const { server, session } = await startSession();
  server.treat = (frame) => {
    if (frame.type !== 'user.message' || server.of('user.message').length > 1) return 'usual';
    frame.connection.terminate();
    return 'reply_lost';
  };
  const turn = session.prompt('once');
  const { turn_id } = await turn.accepted;
  const sent = [await server.command('user.message'), await server.command('user.message', 2)];
  expect(sent[0]!.id).toBe(sent[1]!.id);
  createTurnWriter(server, session.id, turn_id).end();
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'end_turn' });
  expect(server.log(session.id).events.filter(({ type }) => type === 'user.message')).toHaveLength(1);
});

it('[CMD-5] sends what waited in the order in which it was asked for, after attach and tools', async () => {
  const { server, session, client, status } = await startSession();
  await session.tool({ name: 'look', description: 'd', input_schema: { type: 'object' } }, () => '').registered;
  client.drop({ offlineMs: 1 });
  const turn = session.prompt('first');
  const steer = session.steer('second');
  const before = server.received.length;
  await turn.accepted;
  await steer;
  await status(({ state }) => state === 'waiting');
  expect(server.received.slice(before).map(({ type }) => type)).toEqual([
    ...['session.attach', 'tools.register', 'user.message', 'user.steer'],
  ]);
});

it('[LOG-3] attaches again when a frame proves that one is missing, and then has it', async () => {
  const { server, session } = await startSession();
  const attaches = attachesOf(session);
  const seqs = seqsOf(session);
  const turn = session.prompt('go');
  const writer = createTurnWriter(server, session.id, (await turn.accepted).turn_id);
  const lost = new Set([3]);
  // A faulty server: it forgets an event, and doesn't say so.
  server.tamper = (event, connection) => {
    if (!lost.delete(event.seq)) return [event];
    connection.delivered.set(event.session_id, event.seq);
    return [];
  };
  writer.start();
  writer.message('m1', 'lost');
  writer.message('m2', 'there');
  writer.end();
  await expect(turn.text).resolves.toBe('lost\n\nthere');
  expect(attaches).toEqual([expect.objectContaining({ mode: 'replay', afterSeq: 2, gaps: 1 })]);
  expect(seqs.slice(0, 5)).toEqual([1, 2, 3, 4, 5]);
});

it('[LOG-3] asks for a snapshot when the log has the same gap twice', async () => {
  const { server, session } = await startSession();
  const writer = createTurnWriter(server, session.id, 'turn_1');
  writer.start();
  server.tamper = (event, connection) => {
    if (event.seq !== 2) return [event];
    if (connection.delivered.has(event.session_id)) connection.delivered.set(event.session_id, 2);
    return [];
  };
  writer.message('m1', 'never delivered');
  writer.message('m2', 'proves it');
  const third = await server.command('session.attach', 3);
  expect(third.after_seq).toBeUndefined();
  await readUpTo(session, 3);
  const texts = session.transcript.items.map((item) => ('content' in item ? item.content[0]?.['text'] : ''));
  expect(texts).toContain('never delivered');
});

it('[LOG-6] takes merged frames, and passes over an event that it has already', async () => {
  const { server, session } = await startSession();
  const seqs = seqsOf(session);
  const turn = session.prompt('go');
  const writer = createTurnWriter(server, session.id, (await turn.accepted).turn_id);
  let held: SessionEvent | undefined;
  server.tamper = (event, connection) => {
    if (event.type !== 'event_delta') return [event];
    if (!held) {
      held = event;
      return [];
    }
    const texts = [held, event].map((e) =>
      e.type === 'event_delta' && e.delta.type === 'content_delta' ? e.delta.content.text : '',
    );
    held = undefined;
    const merged = {
      ...event,
      delta: { type: 'content_delta' as const, index: 0, content: { type: 'text' as const, text: texts.join('') } },
    };
    const twice = (frame: SessionEvent) => connection.send({ ...frame, prev_seq: frame.seq - 2 });
    connection.deliver(merged);
    twice(merged);
    return [];
  };
  writer.startMessage('m1');
  writer.delta('m1', 'a');
  writer.delta('m1', 'b');
  writer.end();
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'end_turn' });
  expect(turn.textSoFar).toBe('ab');
  expect(seqs.slice(0, 4)).toEqual([1, 2, 4, 5]);
  expect(server.of('session.attach')).toHaveLength(1);
});

it('[LOG-4] goes on with a running turn from a snapshot', async () => {
  const { server, session, client } = await startSession();
  const turn = session.prompt('go');
  const writer = createTurnWriter(server, session.id, (await turn.accepted).turn_id);
  writer.start();
  writer.startMessage('m1');
  writer.delta('m1', 'seen, ');
  await readUpTo(session, 4);
  server.attachMode = 'snapshot';
  client.drop({ offlineMs: 2 });
  writer.delta('m1', 'missed, ');
  await server.command('session.attach', 2);
  await readUpTo(session, 5);
  writer.delta('m1', 'new');
  writer.end('cancelled');
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'cancelled', partial: true });
  await expect(turn.text).resolves.toBe('seen, missed, new');
});

it('[LOG-4] ends a turn as unknown when a snapshot says that it is over', async () => {
  const { server, session, client } = await startSession();
  const turn = session.prompt('go');
  const writer = createTurnWriter(server, session.id, (await turn.accepted).turn_id);
  writer.start();
  writer.message('m1', 'seen');
  await readUpTo(session, 3);
  server.attachMode = 'snapshot';
  client.drop({ offlineMs: 2 });
  writer.end();
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'unknown' });
  await expect(turn.text).resolves.toBe('seen');
  expect((await collect(turn)).map(({ type }) => type)).toEqual(['user.message', 'turn.started', 'agent.message']);
});

it('[LOG-4] ends a turn as unknown when the reply comes after a snapshot that has passed it', async () => {
  const { server, session, client } = await startSession();
  server.attachMode = 'snapshot';
  server.treat = (frame) =>
    frame.type === 'user.message' && server.of('user.message').length === 1 ? 'reply_lost' : 'usual';
  server.tamper = () => [];
  const turn = session.prompt('go');
  await server.command('user.message');
  createTurnWriter(server, session.id, `turn_${turn.commandId}`).end();
  client.drop({ offlineMs: 1 });
  await expect(turn.ended).resolves.toMatchObject({ stop_reason: 'unknown' });
});

it('[LOG-7] attaches again when the log’s epoch changed, and starts from the state that is there', async () => {
  const { server, session } = await startSession();
  createTurnWriter(server, session.id, 'turn_1').message('m1', 'kept');
  await readUpTo(session, 1);
  server.log(session.id).epoch = 'e2';
  const attached = new Promise<Attached>((resolve) => session.onAttached(resolve));
  server.connection.send({ type: 'connection.reset', session_id: session.id, epoch: 'e2' });
  await expect(attached).resolves.toMatchObject({ mode: 'snapshot', epoch: 'e2', headSeq: 1 });
  expect(session.transcript.epoch).toBe('e2');
});

it('fails the turns of a session that it was detached from, and no others', async () => {
  const { server, session, client } = await startSession();
  const other = await client.createSession();
  const turn = session.prompt('go');
  const otherTurn = other.prompt('go');
  await Promise.all([turn.accepted, otherTurn.accepted]);
  server.connection.send({ type: 'connection.detached', session_id: session.id, code: 'session_not_found' });
  await expect(turn.ended).rejects.toMatchObject({ code: 'session_not_found' });
  createTurnWriter(server, other.id, otherTurn.turnId!).end();
  await expect(otherTurn.ended).resolves.toMatchObject({ stop_reason: 'end_turn' });
});

it('[CMD-3] sends a command again under its id when the store died under it', async () => {
  const { server, session } = await startSession();
  server.treat = (frame) => {
    if (frame.type !== 'user.message' || server.of('user.message').length > 1) return 'usual';
    const error = { type: 'api_error', code: 'store_unavailable', message: 'x', retryable: true, retry_after_ms: 1 };
    frame.connection.send({
      type: 'command.rejected',
      id: frame.id,
      error: { ...error, details: { outcome: 'unknown' } },
    });
    return 'ignored';
  };
  const turn = session.prompt('go');
  await turn.accepted;
  expect(server.of('user.message').map(({ id }) => id)).toEqual([turn.commandId, turn.commandId]);
});

it.each([1, 2, 3, 5, 8, 13, 21])(
  '[LOG-4] loses nothing when the socket breaks before many an event, seed %i',
  async (seed) => {
    const { server, session } = await startSession();
    const seqs = seqsOf(session);
    const turn = session.prompt('go');
    const writer = createTurnWriter(server, session.id, (await turn.accepted).turn_id);
    const random = createRandom(seed);
    const reached = new Set<number>();
    server.tamper = (event, connection) => {
      const isBreak = !reached.has(event.seq) && random.chance(0.4);
      reached.add(event.seq);
      if (!isBreak) return [event];
      connection.terminate();
      connection.delivered.clear();
      return [];
    };
    writer.start();
    writer.startMessage('m1');
    const words = Array.from({ length: 12 }, (_, at) => `${at} `);
    for (const word of words) writer.delta('m1', word);
    writer.message('m1', words.join(''));
    writer.end();
    await expect(turn.text).resolves.toBe(words.join(''));
    expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, at) => at + 1));
    expect(server.connections.length).toBeGreaterThan(1);
  },
);
