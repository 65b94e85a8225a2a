import { closed, opened, say, startRoom, type TestRoom, words } from './support.js';

let t: TestRoom;
beforeEach(async () => {
  t = await startRoom();
});
afterEach(() => t.stop());

describe('a subscription', () => {
  it('[LOG-1] [LOG-3] shows every watcher the same order, with deltas and without', async () => {
    const { id } = await t.create();
    const a = await t.watch(id);
    const b = await t.watch(id);
    const plain = await t.watch(id, { deltas: false });
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    request.stream(...opened, ...words('Hel', 'lo'), ...closed);
    request.end();
    for (const { sink } of [a, b, plain]) await sink.until(() => sink.has('session.status_idle'));
    expect(b.sink.texts).toEqual(a.sink.texts);
    a.sink.checkOrder(0);
    plain.sink.checkOrder(0);
    expect(plain.sink.has('event_start') || plain.sink.has('event_delta')).toBe(false);
    expect(a.sink.text()).toBe('Hello');
  });

  it('[LOG-6] merges deltas for who is behind, delays nobody else, and costs one write when the socket drains', async () => {
    const { id } = await t.create();
    const slow = await t.watch(id, { full: true });
    const quick = await t.watch(id);
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    request.stream(...opened);
    const said = Array.from({ length: 100 }, (_, i) => `${i} `);
    for (const word of said) request.stream(...words(word));
    await quick.sink.until(() => quick.sink.text() === said.join(''));
    const before = slow.sink.frames.length;
    slow.sink.drain();
    await slow.sink.until(() => slow.sink.text() === said.join(''));
    expect(slow.sink.frames.length - before).toBeLessThan(10);
    slow.sink.checkOrder(0);
    expect(quick.sink.frames.filter((f) => f.type === 'event_delta').length).toBeGreaterThan(
      slow.sink.frames.filter((f) => f.type === 'event_delta').length,
    );
  });

  it('[LOG-6] closes a socket that took nothing for 30 s with 4508, and it can resume', async () => {
    const { id } = await t.create();
    const stuck = await t.watch(id, { full: true });
    await t.send(say(id, 'Hi'));
    await stuck.sink.until(() => stuck.sink.flushes > 0);
    t.clock.advance(29_999);
    expect(stuck.sink.closed).toBeUndefined();
    t.clock.advance(1);
    expect(stuck.sink.closed?.code).toBe(4508);
    const last = stuck.sink.frames.at(-1)?.seq ?? 0;
    const again = await t.watch(id, { afterSeq: last });
    (await t.model.request(1)).stream(...opened, ...words('more'));
    await again.sink.until(() => again.sink.text() === 'more');
    again.sink.checkOrder(last);
  });

  it('[LOG-6] keeps a socket that is merely slow', async () => {
    const { id } = await t.create();
    const slow = await t.watch(id, { full: true });
    slow.sink.backlogBytes = 300_000;
    await t.send(say(id, 'Hi'));
    await slow.sink.until(() => slow.sink.flushes > 0);
    for (const left of [200_000, 100_000]) {
      slow.sink.backlogBytes = left;
      t.clock.advance(30_000);
      expect(slow.sink.closed).toBeUndefined();
    }
    t.clock.advance(30_000);
    expect(slow.sink.closed?.code).toBe(4508);
  });

  it('[LOG-6] looks at the socket between large frames', async () => {
    const { id } = await t.create();
    const big = 'x'.repeat(100_000);
    for (let i = 0; i < 5; i++) await t.send(say(id, big));
    const slow = await t.watch(id, { afterSeq: 0, full: true });
    await slow.sink.until(() => slow.sink.flushes > 0);
    expect(slow.sink.texts.join('').length).toBeLessThan(150_000);
    for (let i = 0; i < 9; i++) slow.sink.drain();
    await slow.sink.until(() => slow.sink.frames.filter((f) => f.type === 'user.message').length === 5);
    slow.sink.checkOrder(0);
  });

  it('[LOG-4] replays every later event, and after a trim the completed ones', async () => {
    const { id } = await t.create();
    const all = await t.watch(id);
    for (let turn = 1; turn <= 3; turn++) {
      await t.send(say(id, `prompt ${turn}`));
      const request = await t.model.request(turn);
      request.stream(...opened);
      for (let i = 0; i < 400; i++) request.stream(...words(`${turn}.${i} `));
      request.stream(...closed);
      request.end();
      await all.sink.until(() => all.sink.frames.filter((f) => f.type === 'turn.ended').length === turn);
    }
    const head = all.sink.frames.at(-1)?.seq ?? 0;
    for (const afterSeq of [0, 1, 7, 200, 405, 1_000, head - 1, head]) {
      const { sink, attachment } = await t.watch(id, { afterSeq });
      expect(attachment.result.mode).toBe('replay');
      await sink.until(() => afterSeq === head || sink.frames.at(-1)?.seq === head);
      sink.checkOrder(afterSeq);
      const whole = (list: typeof sink.frames) =>
        list.filter((f) => f.seq > afterSeq && f.type !== 'event_delta' && f.type !== 'event_start');
      expect(whole(sink.frames).map((f) => f.seq)).toEqual(whole(all.sink.frames).map((f) => f.seq));
      attachment.detach();
    }
    // The first turn's deltas are no longer there: its message is.
    const replayed = await t.watch(id, { afterSeq: 0 });
    await replayed.sink.until(() => replayed.sink.frames.at(-1)?.seq === head);
    expect(replayed.sink.text()).not.toContain('1.1 ');
    expect(JSON.stringify(replayed.sink.frames)).toContain('1.1 ');
  });

  it('[LOG-5] keeps the deltas of a block that is still open, however long it gets', async () => {
    const { id } = await t.create();
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    request.stream(...opened);
    const said = Array.from({ length: 3_000 }, (_, i) => `${i} `);
    for (const word of said) request.stream(...words(word));
    const late = await t.watch(id, { afterSeq: 0 });
    await late.sink.until(() => late.sink.text() === said.join(''));
    late.sink.checkOrder(0);
  });

  it.each([
    ['another epoch', { afterSeq: 1, epoch: 'e0' }],
    ['a cursor beyond the head', { afterSeq: 99 }],
    ['no cursor', {}],
  ])('[LOG-4] gives a snapshot for %s, and every event after it', async (_name, cursor) => {
    const { id } = await t.create();
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    request.stream(...opened, ...words('half '));
    const seen = await t.watch(id, { afterSeq: 0 });
    await seen.sink.until(() => seen.sink.text() === 'half ');
    const { sink, attachment } = await t.watch(id, cursor);
    expect(attachment.result).toMatchObject({
      mode: 'snapshot',
      snapshot: { partial: { content: [{ type: 'text', text: 'half ' }] } },
    });
    const from = attachment.result.snapshot?.seq ?? -1;
    expect(from).toBe(attachment.result.head_seq);
    request.stream(...words('whole'), ...closed);
    request.end();
    await sink.until(() => sink.has('turn.ended'));
    sink.checkOrder(from);
    expect(sink.text()).toBe('whole');
  });

  it('tells a watcher that its session was deleted, the running turn cancelled first', async () => {
    const { id } = await t.create();
    const { sink } = await t.watch(id);
    await t.send(say(id, 'Hi'));
    const request = await t.model.request(1);
    await t.room.api.deleteSession(t.caller, id);
    expect(request.signal.aborted).toBe(true);
    expect(sink.frames.slice(-3).map((f) => f.type)).toEqual(['turn.ended', 'session.status_idle', 'session.deleted']);
    expect(sink.controls.at(-1)).toMatchObject({ type: 'connection.detached', session_id: id });
    await expect(t.room.api.getSession(t.caller, id)).rejects.toMatchObject({ code: 'session_not_found' });
  });
});
