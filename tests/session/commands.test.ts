import { type EventLog, LogUnavailable } from '../../server/ports/event-log.js';
import { closed, opened, say, startRoom, type TestRoom, words } from './support.js';

/** A log whose disk is full while `isBroken` says so. */
function refusingWhile(log: EventLog, isBroken: () => boolean): EventLog {
  return new Proxy(log, {
    get(target, name) {
      if (name === 'append' && isBroken()) return () => Promise.reject(new LogUnavailable('store_failed', 'disk full'));
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

let t: TestRoom;
afterEach(() => t.stop());

describe('commands', () => {
  beforeEach(async () => {
    t = await startRoom();
  });

  it('[CMD-2] take effect once per id, and answer the same again', async () => {
    const { id } = await t.create();
    const first = await t.send({ ...say(id, 'Hi'), id: 'same' });
    const second = await t.send({ ...say(id, 'Hi'), id: 'same' });
    expect(second).toEqual({ ...first, duplicate: true });
    await expect(t.send({ ...say(id, 'Other'), id: 'same' })).rejects.toMatchObject({ code: 'idempotency_conflict' });
    const [a, b] = await Promise.all([
      t.send({ ...say(id, 'Twice'), id: 'twin' }),
      t.send({ ...say(id, 'Twice'), id: 'twin' }),
    ]);
    expect(a.applied_at_seq).toBe(b.applied_at_seq);
  });

  it('[CMD-2] are remembered when the session was put to rest', async () => {
    const { id } = await t.create();
    const first = await t.send({ ...say(id, 'Hi'), id: 'same' });
    const request = await t.model.request(1);
    request.stream(...opened, ...words('a'), ...closed);
    request.end();
    const { sink, attachment } = await t.watch(id, { afterSeq: 0 });
    await sink.until(() => sink.has('session.status_idle'));
    attachment.detach();
    for (let i = 0; i < 2_000 && t.room.api.activeSessions > 0; i++) {
      t.clock.advance(15_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(t.room.api.activeSessions).toBe(0);
    expect(await t.send({ ...say(id, 'Hi'), id: 'same' })).toEqual({ ...first, duplicate: true });
    expect(await t.room.api.listMessages(t.caller, id)).toHaveLength(2);
  });

  it('[CMD-2] session.create makes one session per id', async () => {
    const create = { type: 'session.create', id: 'make' };
    const [a, b] = await Promise.all([t.send(create), t.send(create)]);
    const c = await t.send(create);
    expect(b.result.session?.id).toBe(a.result.session?.id);
    expect(c).toMatchObject({ duplicate: true, result: { session: { id: a.result.session?.id } } });
    await expect(t.send({ ...create, title: 'x' })).rejects.toMatchObject({ code: 'idempotency_conflict' });
  });

  it('[CMD-5] take effect in the order sent', async () => {
    const { id } = await t.create();
    const sent = Array.from({ length: 20 }, (_, i) => t.send(say(id, `m${i}`)));
    const seqs = (await Promise.all(sent)).map((accepted) => accepted.applied_at_seq ?? 0);
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
  });

  it('a batch is carried out whole or not at all, and says which was refused', async () => {
    const { id } = await t.create();
    const batch = [
      { ...say(id, 'one'), id: 'b0' },
      { type: 'user.tool_confirmation', id: 'b1', session_id: id, tool_use_id: 'sevt_x', result: 'allow' },
    ] as never[];
    await expect(t.room.api.dispatchBatch(t.caller, id, batch)).rejects.toMatchObject({
      code: 'tool_call_not_found',
      details: { index: 1 },
    });
    expect((await t.room.api.getSession(t.caller, id)).head_seq).toBe(0);
    const { echoes } = await t.room.api.dispatchBatch(t.caller, id, batch.slice(0, 1));
    expect(JSON.parse(echoes[0] ?? '')).toMatchObject({ type: 'user.message', command_id: 'b0', seq: 1 });
  });

  it('[CMD-2] the same id twice in one batch takes effect once', async () => {
    const { id } = await t.create();
    const one = { ...say(id, 'one'), id: 'twin' } as never;
    const { accepted } = await t.room.api.dispatchBatch(t.caller, id, [one, one]);
    expect(accepted[1]).toEqual({ ...accepted[0], duplicate: true });
    const other = { ...say(id, 'other'), id: 'twin2' } as never;
    const conflict = [{ ...say(id, 'one'), id: 'twin2' } as never, other];
    await expect(t.room.api.dispatchBatch(t.caller, id, conflict)).rejects.toMatchObject({
      code: 'idempotency_conflict',
      details: { index: 1 },
    });
  });

  it('[CAN-2] an interrupt is accepted when the upstream request is over', async () => {
    const { id } = await t.create();
    const { sink } = await t.watch(id, { afterSeq: 0 });
    await t.send({ ...say(id, 'Hi'), id: 'prompt' });
    const request = await t.model.request(1);
    request.stream(...opened, ...words('some'));
    const accepted = await t.send({ type: 'user.interrupt', session_id: id, command_id: 'prompt' });
    expect(request.signal.aborted).toBe(true);
    request.stream(...words('late'));
    await sink.until(() => sink.has('session.status_idle'));
    const deltas = sink.frames.filter((f) => f.type === 'event_delta');
    expect(Math.max(...deltas.map((f) => f.seq))).toBeLessThan(accepted.applied_at_seq ?? 0);
    expect(sink.text()).toBe('some');
  });

  it('[CAN-2] the reply waits until the upstream connection is closed', async () => {
    const { id } = await t.create();
    t.model.closesLate = true;
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    let isAccepted = false;
    const accepted = t.send({ type: 'user.interrupt', session_id: id }).then((reply) => {
      isAccepted = true;
      return reply;
    });
    const { sink } = await t.watch(id, { afterSeq: 0 });
    await sink.until(() => sink.has('turn.ended'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isAccepted).toBe(false);
    const again = t.send({ type: 'user.interrupt', session_id: id }).then((reply) => {
      isAccepted = true;
      return reply;
    });
    await t.store.sessions.ping();
    await new Promise((resolve) => setImmediate(resolve));
    expect(isAccepted).toBe(false);
    request.end({ type: 'aborted' });
    expect((await accepted).result.outcome).toBe('cancelled');
    expect((await again).result.outcome).toBe('already_ended');
  });

  it('[LOG-5] deltas are gone from the store once their message is complete', async () => {
    const { id } = await t.create();
    const { sink } = await t.watch(id, { afterSeq: 0 });
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    request.stream(...opened, ...words('a', 'b', 'c'));
    await sink.until(() => sink.text() === 'abc');
    expect(await t.store.log.readDeltas(id, 0)).not.toEqual([]);
    request.stream(...closed);
    request.end();
    await sink.until(() => sink.has('session.status_idle'));
    expect(await t.store.log.readDeltas(id, 0)).toEqual([]);
  });

  it('[CMD-4] nothing is cancelled when a connection goes', async () => {
    const { id } = await t.create();
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    t.room.api.connectionClosed('conn_1');
    expect(request.signal.aborted).toBe(false);
  });

  it('[AUTH-3] a session of somebody else does not exist', async () => {
    const { id } = await t.create();
    const stranger = { ...t.caller, principal: { user_id: 'eve', org_id: 'local', roles: ['admin'] } };
    await expect(t.room.api.getSession(stranger, id)).rejects.toMatchObject({ code: 'session_not_found' });
    await expect(t.room.api.dispatch(stranger, { ...say(id, 'Hi'), id: 'x' } as never)).rejects.toMatchObject({
      code: 'session_not_found',
    });
    await expect(t.room.api.getSession(t.caller, 'sesn_none')).rejects.toMatchObject({ code: 'session_not_found' });
  });
});

describe('when the store fails', () => {
  it('[CMD-3] the outcome is unknown, watchers are sent away, and the same id works afterwards', async () => {
    let isBroken = false;
    t = await startRoom({
      wrapLog: (log) => refusingWhile(log, () => isBroken),
    });
    const { id } = await t.create();
    const { sink } = await t.watch(id);
    isBroken = true;
    await expect(t.send({ ...say(id, 'Hi'), id: 'lost' })).rejects.toMatchObject({
      code: 'store_unavailable',
      details: { outcome: 'unknown' },
    });
    expect(sink.closed?.code).toBe(4500);
    expect(sink.frames).toEqual([]);
    expect(t.model.requests).toHaveLength(0);
    isBroken = false;
    expect(await t.send({ ...say(id, 'Hi'), id: 'lost' })).toMatchObject({ applied_at_seq: 1 });
    const { result } = await t.room.api.attach(
      t.caller,
      { sessionId: id, afterSeq: undefined, epoch: undefined, deltas: true },
      sink,
    );
    expect(result.snapshot?.seq).toBeGreaterThan(0);
  });
});

describe('when the store fails in the middle of a turn', () => {
  it('[TURN-1] the turn goes on as soon as the store answers again, watched or not', async () => {
    let isBroken = false;
    t = await startRoom({
      wrapLog: (log) => refusingWhile(log, () => isBroken),
    });
    const { id } = await t.create();
    const { sink } = await t.watch(id);
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    isBroken = true;
    request.stream(...opened, ...words('lost'));
    await sink.until(() => sink.closed !== undefined);
    expect(request.signal.aborted).toBe(true);
    isBroken = false;
    t.clock.advance(1_000);
    const again = await t.model.request(2);
    again.stream(...opened, ...words('found'), ...closed);
    again.end();
    const after = await t.watch(id, { afterSeq: 0 });
    await after.sink.until(() => after.sink.has('turn.ended'));
    expect(after.sink.frames.filter((f) => f.type === 'turn.ended')).toHaveLength(1);
  });
});

describe('client tools', () => {
  const register = (id: string) => ({
    type: 'tools.register',
    session_id: id,
    tools: [{ name: 'edit', description: 'Edits', input_schema: { type: 'object' } }],
  });

  it('[TOOL-5] leave with their connection, also where it closes before they are registered', async () => {
    t = await startRoom();
    const { id } = await t.create();
    const registering = t.send(register(id));
    t.room.api.connectionClosed('conn_1');
    await registering.catch(() => undefined);
    const { attachment } = await t.watch(id);
    expect(attachment.result.snapshot?.tools).toEqual([]);
  });

  it('[CMD-5] keep their place among the commands', async () => {
    t = await startRoom();
    const { id } = await t.create();
    const sent = [t.send(say(id, 'without')), t.send(register(id))];
    await Promise.all(sent);
    expect((await t.model.request(1)).request.tools).toEqual([]);
  });
});

describe('after a restart', () => {
  it('[NODE-2] [TURN-1] unfinished turns go on, and every turn has one end', async () => {
    t = await startRoom();
    const { id } = await t.create();
    await t.send(say(id, 'Hi'));
    await t.send(say(id, 'Then'));
    (await t.model.request(1)).stream(...opened, ...words('half'));
    const { sink } = await t.watch(id, { afterSeq: 0 });
    await sink.until(() => sink.text() === 'half');
    await t.room.close();
    await t.store.close();
    const next = await startRoom({ dataDir: t.dataDir });
    const after = await next.watch(id, { afterSeq: sink.frames.at(-1)?.seq ?? 0 });
    for (const n of [1, 2]) {
      const request = await next.model.request(n);
      request.stream(...opened, ...words('whole'), ...closed);
      request.end();
    }
    await after.sink.until(() => after.sink.has('session.status_idle'));
    after.sink.checkOrder(sink.frames.at(-1)?.seq ?? 0);
    expect(after.sink.frames.filter((f) => f.type === 'turn.ended')).toHaveLength(2);
    expect(after.sink.has('step.superseded')).toBe(true);
    await next.room.close();
    await next.store.close();
    t = await startRoom();
  });
});
