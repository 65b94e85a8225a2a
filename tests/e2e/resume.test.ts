/** Lost connections: clients drop at random moments of a stream, come back by cursor, and miss or repeat nothing. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { createRandom } from '../core/support/random.js';
import { PRIVATE, within } from '../support/blackbox-server.js';
import { type ProcessService, startService } from '../support/service.js';
import type { Frame, WsRecorder } from '../support/ws-recorder.js';
import { WsTranscript } from '../support/ws-transcript.js';
import { Watchers } from '../support/ws-watchers.js';

const SEED = Number(process.env['MIDSTREAM_TEST_SEED'] ?? 4_711);
const CLIENTS = 6;
const ROUNDS = process.env['MIDSTREAM_TEST_LONG'] === '1' ? 20 : 3;

let upstream: Upstream;
let server: ProcessService;
const watchers = new Watchers(() => server.wsUrl);

beforeAll(async () => {
  upstream = await startUpstream();
  server = await startService({ upstream });
});

afterEach(async () => {
  await watchers.release();
  expect(upstream.violations).toEqual([]);
});

afterAll(async () => {
  await server.dispose();
  await upstream.close();
});

/** `count` words that are all different, so that a hole or a repetition shows. */
const wordsOf = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => `${n.toString(36)}\u00e9\u{1f33b} `);

describe('a client that drops while the model streams', () => {
  it.each(Array.from({ length: ROUNDS }, (_, n) => SEED + n))(
    '[LOG-3] [LOG-4] puts the whole text together from what it got before and after (seed %i)',
    async (seed) => {
      const random = createRandom(seed);
      const chunks = wordsOf(400);
      const whole = chunks.join('');
      upstream.script([
        { blocks: [{ type: 'text', text: whole, chunks }], packing: { splitSeed: seed }, pace: { everyMs: 1 } },
        textReply('Done.'),
      ]);
      const steady = await watchers.connect();
      const sessionId = await steady.openSession();
      const { result } = await steady.prompt(sessionId, `Stream, ${PRIVATE}.`);
      const turnId = result.turn_id as string;

      const unsteady = Array.from({ length: CLIENTS }, async () => {
        const transcript = new WsTranscript();
        let cursor: number | undefined;
        let drops = 0;
        for (;;) {
          const client = await watchers.connect();
          const { mode, snapshot } = await client.attach(sessionId, cursor === undefined ? {} : { after_seq: cursor });
          if (snapshot) transcript.takeSnapshot(snapshot);
          expect(mode).toBe(cursor === undefined ? 'snapshot' : 'replay');
          const stopAfter = 1 + random.int(60);
          let seen = 0;
          const isOver = (f: Frame) => 'seq' in f && (f.type === 'turn.ended' || ++seen >= stopAfter);
          await client.waitFor(isOver, 'enough events');
          await client.drop();
          for (const event of client.events(sessionId)) {
            transcript.take(event);
            expect(whole.startsWith(transcript.text)).toBe(true);
          }
          cursor = client.lastSeq(sessionId);
          if (client.events(sessionId).some((event) => event.type === 'turn.ended')) break;
          drops += 1;
        }
        expect(transcript.text).toBe(whole);
        return drops;
      });
      const drops = await Promise.all(unsteady);
      expect(Math.max(...drops)).toBeGreaterThan(0);
      await steady.event('turn.ended', { turnId });
      expect(watchers.textOf(steady, turnId)).toBe(whole);
    },
  );

  it('[LOG-4] gets a snapshot where the log can’t go on from its cursor', async () => {
    upstream.script([textReply(PRIVATE)]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    await watchers.turn(client, sessionId, PRIVATE);
    await client.event('session.status_idle', { sessionId });
    const head = client.lastSeq(sessionId);
    const { epoch } = await client.attach(sessionId, { after_seq: head });
    for (const cursor of [{ after_seq: head + 1 }, { after_seq: 999_999 }, { after_seq: 2, epoch: 'another' }]) {
      const result = await client.attach(sessionId, cursor);
      expect(result).toMatchObject({ mode: 'snapshot', head_seq: head, snapshot: { seq: head } });
      expect(result.snapshot?.messages).toHaveLength(2);
    }
    expect(await client.attach(sessionId, { after_seq: head, epoch })).toMatchObject({
      mode: 'replay',
      head_seq: head,
    });
  });

  it('[LOG-4] [LOG-5] replays from the beginning with completed events only, long after', async () => {
    upstream.script(() => ({ blocks: [{ type: 'text', text: 'x ', repeat: 600 }], packing: 'one_write' }));
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    for (let turn = 0; turn < 3; turn += 1) await watchers.turn(client, sessionId, `${turn} ${PRIVATE}`);
    await client.event('session.status_idle', { sessionId });
    const head = client.lastSeq(sessionId);
    const late = await watchers.connect();
    expect((await late.attach(sessionId, { after_seq: 0, deltas: false })).mode).toBe('replay');
    await late.until(() => late.lastSeq(sessionId) === head);
    const completed = (frames: WsRecorder) =>
      frames
        .events(sessionId)
        .filter((event) => event.type !== 'event_delta' && event.type !== 'event_start')
        .map(({ prev_seq: _, ...event }) => event);
    expect(completed(late)).toEqual(completed(client));
    const other = await watchers.connect();
    await other.attach(sessionId, { after_seq: 0, deltas: true });
    await other.until(() => other.lastSeq(sessionId) === head);
    const transcript = new WsTranscript();
    transcript.takeAll(other.frames);
    expect(transcript.text).toBe('x '.repeat(1_800));
  });

  it('[LOG-4] replaces its first watch by attaching again, and stops by detaching', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    const client = await watchers.connect();
    const sessionId = await client.openSession();
    const { result } = await client.prompt(sessionId, PRIVATE);
    await reply.start();
    reply.openText();
    reply.text('one');
    await client.event('event_delta', { turnId: result.turn_id });
    await client.attach(sessionId, { after_seq: client.lastSeq(sessionId) });
    reply.text('two');
    await client.waitFor((f) => f.type === 'event_delta' && JSON.stringify(f).includes('two'), 'the second delta');
    await client.accepted({ type: 'session.detach', session_id: sessionId });
    const detachedAt = client.lastSeq(sessionId);
    reply.closeBlock();
    reply.finish();
    const other = await watchers.connect();
    await other.attach(sessionId, { after_seq: detachedAt });
    await other.event('turn.ended', { turnId: result.turn_id });
    expect(client.lastSeq(sessionId)).toBe(detachedAt);
  });
});

describe('a client that stops reading', () => {
  const BYTES = 16 * 1_024 * 1_024;
  const SLOW = 12;
  const DELTA = 'z'.repeat(4_096);
  const memoryOf = async (): Promise<number> => {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', server.pids.join()]);
    const kib = stdout.trim().split('\n').map(Number);
    return kib.reduce((sum, one) => sum + one) * 1_024;
  };

  it('[LOG-6] delays nobody, costs no memory to speak of, and gets merged deltas when it reads again', async () => {
    const much = { blocks: [{ type: 'text' as const, text: DELTA, repeat: BYTES / DELTA.length }] };
    upstream.script([much, much, textReply('After.')]);
    const slowOnes = await Promise.all(Array.from({ length: SLOW }, () => watchers.connect()));
    const [fast, elsewhere] = await watchers.connectMany(2);
    // The same stream first, watched by one on each node: so much the processes grow by themselves.
    const first = await fast.openSession();
    await elsewhere.attach(first);
    await watchers.turn(fast, first, PRIVATE);
    await elsewhere.event('turn.ended', { sessionId: first });
    const sessionId = await fast.openSession();
    for (const slow of slowOnes) {
      await slow.attach(sessionId);
      slow.pause();
    }
    const before = await memoryOf();
    const { turn_id: turnId } = await watchers.turn(fast, sessionId, `Much, ${PRIVATE}.`);
    expect(watchers.textOf(fast, turnId)).toHaveLength(BYTES);
    // Were each sent what it doesn't take, its socket would hold the whole stream.
    expect((await memoryOf()) - before).toBeLessThan(SLOW * BYTES);
    const [slow, ...others] = slowOnes as [WsRecorder, ...WsRecorder[]];
    await Promise.all(others.map((other) => other.drop()));
    slow.resume();
    await slow.event('turn.ended', { turnId });
    expect(watchers.textOf(slow, turnId)).toHaveLength(BYTES);
    const merged = slow
      .events(sessionId)
      .filter((event) => event.type === 'event_delta' && event.delta.type === 'content_delta')
      .filter((event) => JSON.stringify(event).length > 2 * DELTA.length);
    expect(merged.length).toBeGreaterThan(0);
    expect(merged.every((event) => event.prev_seq !== undefined)).toBe(true);
    expect(await watchers.turn(fast, await fast.openSession(), PRIVATE)).toMatchObject({ stop_reason: 'end_turn' });
  });

  it('[LOG-6] doesn’t delay the commands of others, nor their first token', async () => {
    const slow = await watchers.connect();
    const loud = await slow.createSession();
    await slow.attach(loud);
    slow.pause();
    const reply = manualReply();
    upstream.script([reply, textReply('Quick.')]);
    const [sender, quick] = await watchers.connectMany(2);
    await sender.prompt(loud, PRIVATE);
    await reply.start();
    reply.openText();
    for (let n = 0; n < 2_000; n += 1) reply.text(DELTA);
    const quiet = await quick.openSession();
    await within(watchers.turn(quick, quiet, PRIVATE), 3_000, 'a quiet session waited for a loud one');
    reply.closeBlock();
    reply.finish();
    slow.resume();
    await slow.event('turn.ended', { sessionId: loud });
  });
});
