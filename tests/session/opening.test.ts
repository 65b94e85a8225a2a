/** What a session is opened from, who is let in while its actor goes, and what those wait for whom it goes under. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EventLog, LogUnavailable } from '../../server/ports/event-log.js';
import { turns } from './support/event-loop.js';
import { closed, opened, say, startRoom, type TestRoom, TestSink, words } from './support.js';

let t: TestRoom;
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'midstream-opening-'));
});
afterEach(async () => {
  await t.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const until = async (isSo: () => boolean): Promise<void> => {
  for (let turn = 0; turn < 2_000 && !isSo(); turn++) await turns(1);
  expect(isSo()).toBe(true);
};

/** A session with one finished turn, at rest. */
async function createPast(): Promise<string> {
  t = await startRoom({ dataDir });
  const { id } = await t.create();
  const { sink } = await t.watch(id, { afterSeq: 0 });
  await t.send(say(id, 'Hi'));
  const request = await t.model.request(1);
  request.stream(...opened, ...words('Hello'), ...closed);
  request.end();
  await sink.until(() => sink.has('turn.ended') && sink.has('session.status_idle'));
  await t.stop();
  return id;
}

describe('a checkpoint', () => {
  const put = async (id: string, ahead: number): Promise<number> => {
    const { store } = t;
    const [last] = await store.log.read(id, { afterSeq: 0, limit: 1, order: 'desc' });
    const head = last?.seq ?? 0;
    const checkpoint = await store.sessions.getCheckpoint(id);
    const state = JSON.parse(checkpoint?.json ?? '{}') as Record<string, unknown>;
    const seq = head + ahead;
    const json = JSON.stringify({ ...state, seq, title: 'from the checkpoint' });
    // One at the head replaces none that is there already.
    const sessions = store.sessions as { getCheckpoint: typeof store.sessions.getCheckpoint };
    sessions.getCheckpoint = async () => ({ seq, json });
    return head;
  };

  it.each([
    ['at the head of its log is used', 0, 'from the checkpoint'],
    ['ahead of its log is not used: what it holds never happened', 1, null],
  ])('%s', async (_what, ahead, title) => {
    const id = await createPast();
    t = await startRoom({ dataDir });
    const head = await put(id, ahead);
    const { attachment } = await t.watch(id);
    expect(attachment.result).toMatchObject({ head_seq: head, snapshot: { session: { title } } });
    // The next event follows the log, without a hole (LOG-1).
    const { applied_at_seq } = await t.send(say(id, 'And now?', { id: 'next' }));
    expect(applied_at_seq).toBe(head + 1);
  });
});

describe('attaching', () => {
  it('[LOG-4] goes to the next actor where the first one fails while the log is asked', async () => {
    const id = await createPast();
    let release: (() => void) | undefined;
    let isAsked = false;
    let fails = false;
    const wrapLog = (log: EventLog): EventLog => ({
      epoch: log.epoch,
      append: (append) => (fails ? Promise.reject(new LogUnavailable('store_failed', 'away')) : log.append(append)),
      read: (sessionId, query) => log.read(sessionId, query),
      floorOf: async (sessionId) => {
        if (isAsked || !fails) return log.floorOf(sessionId);
        isAsked = true;
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        return log.floorOf(sessionId);
      },
      readDeltas: (sessionId, afterSeq) => log.readDeltas(sessionId, afterSeq),
      trimDeltas: (sessionId, upToSeq) => log.trimDeltas(sessionId, upToSeq),
      findAnswer: (key) => log.findAnswer(key),
    });
    t = await startRoom({ dataDir, wrapLog });
    await t.watch(id);
    fails = true;
    const sink = new TestSink(id);
    const attaching = t.room.api.attach(t.caller, { sessionId: id, afterSeq: 0, epoch: undefined, deltas: true }, sink);
    await until(() => isAsked);
    await expect(t.send(say(id, 'Lost', { id: 'lost' }))).rejects.toMatchObject({ code: 'store_unavailable' });
    fails = false;
    release?.();
    const attachment = await attaching;
    attachment.start();
    expect(attachment.result.mode).toBe('replay');
    await t.send(say(id, 'Heard', { id: 'heard' }));
    await until(() => sink.frames.filter(({ type }) => type === 'turn.started').length === 2);
    sink.checkOrder(0);
  });
});

it('[CAN-2] an interrupt under which the actor fails is accepted when the connection is closed, not before', async () => {
  let release: (() => void) | undefined;
  let fails = false;
  const wrapLog = (log: EventLog): EventLog => ({
    epoch: log.epoch,
    async append(append) {
      if (fails) throw new LogUnavailable('store_failed', 'away');
      await log.append(append);
      if (!append.records.some((record) => record.kind === 'event' && record.type === 'user.interrupt')) return;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    },
    read: (sessionId, query) => log.read(sessionId, query),
    floorOf: (sessionId) => log.floorOf(sessionId),
    readDeltas: (sessionId, afterSeq) => log.readDeltas(sessionId, afterSeq),
    trimDeltas: (sessionId, upToSeq) => log.trimDeltas(sessionId, upToSeq),
    findAnswer: (key) => log.findAnswer(key),
  });
  t = await startRoom({ dataDir, wrapLog });
  t.model.closesLate = true;
  const { id } = await t.create();
  await t.send(say(id, 'Hi'));
  const request = await t.model.request(1);
  let isAccepted = false;
  const interrupting = t.send({ type: 'user.interrupt', id: 'stop', session_id: id }).finally(() => {
    isAccepted = true;
  });
  await until(() => release !== undefined);
  fails = true;
  await expect(t.send(say(id, 'Lost', { id: 'lost' }))).rejects.toMatchObject({ code: 'store_unavailable' });
  expect(request.signal.aborted).toBe(true);
  release?.();
  await turns(20);
  expect(isAccepted).toBe(false);
  request.end({ type: 'aborted' });
  expect(await interrupting).toMatchObject({ result: { outcome: 'cancelled' } });
  fails = false;
});
