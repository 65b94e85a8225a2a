/** The embedded store under kill -9: what was acknowledged is there, whole and without a gap. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { StoreDirectory } from '../support/store-directory.js';
import { createRandom } from '../support/store-random.js';

const ROOT = join(__dirname, '../..');
const KILLS = process.env['MIDSTREAM_TEST_LONG'] ? 40 : 6;
const seed = Number(process.env['MIDSTREAM_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** A process on the store. `acknowledged` counts its acknowledgements; `lines` settles when its output has ended. */
function startChild(script: string, dataDir: string, childSeed: number) {
  const child: ChildProcess = spawn(process.execPath, [script, dataDir, String(childSeed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  const input = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  input.on('line', (line) => {
    lines.push(line);
    for (const check of [...waiting]) check();
  });
  const ended = Promise.all([once(child, 'exit'), once(input, 'close')]);
  const hasLines = (count: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (lines.length < count) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      void ended.then(() => reject(new Error(`The process ended early: ${lines.join(' ')}`)));
      check();
    });
  return { child, lines, ended, hasLines };
}

describe(`embedded store under kill -9 (seed ${seed})`, () => {
  let cache: string;
  let script: string;
  let directory: StoreDirectory;
  const children: ChildProcess[] = [];

  beforeAll(async () => {
    // Inside node_modules, so that the script finds the packages that are not bundled.
    const parent = join(ROOT, 'node_modules/.cache');
    mkdirSync(parent, { recursive: true });
    cache = mkdtempSync(join(parent, 'midstream-crash-'));
    script = join(cache, 'child.cjs');
    await build({
      entryPoints: [join(ROOT, 'tests/support/store-crash-child.ts')],
      outfile: script,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      external: ['libsql'],
    });
  });
  afterAll(() => rmSync(cache, { recursive: true, force: true }));
  beforeEach(() => {
    directory = new StoreDirectory();
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await directory.dispose();
  });

  it('[NODE-2] keeps all that was acknowledged, without a gap, answers and rows with their events', async () => {
    const random = createRandom(seed);
    const acknowledged = new Map<string, number>();
    for (let kill = 0; kill < KILLS; kill++) {
      const run = startChild(script, directory.dataDir, seed + kill);
      children.push(run.child);
      await run.hasLines(2 + Math.floor(random() * 400));
      run.child.kill('SIGKILL');
      await run.ended;
      for (const line of run.lines) {
        const [, id, seq] = line.split(' ');
        if (id !== undefined) acknowledged.set(id, Number(seq));
      }

      const store = await directory.open();
      expect(store.log.epoch).toBe('e1');
      for (const [id, seq] of acknowledged) {
        const events = await store.log.read(id, { afterSeq: 0, limit: Number.MAX_SAFE_INTEGER });
        const deltas = await store.log.readDeltas(id, 0);
        const seqs = [...events, ...deltas].map((record) => record.seq).sort((a, b) => a - b);
        expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, i) => i + 1));
        expect(seqs.length).toBeGreaterThanOrEqual(seq);
        // Each append with events left one answer and the row: those of the last one must be there, and no later.
        const last = events.at(-1)?.seq;
        if (last === undefined) continue;
        const key = { sessionId: id, userId: 'ada', orgId: 'acme' };
        expect(await store.log.findAnswer({ ...key, commandId: `c${last}` })).toMatchObject({ appliedAtSeq: last });
        expect(await store.sessions.get(id)).toMatchObject({ json: String(last), updatedAt: last, unfinished: true });
        for (let later = last + 1; later <= last + 6; later++) {
          expect(await store.log.findAnswer({ ...key, commandId: `c${later}` })).toBeUndefined();
        }
      }
      await store.close();
    }
    expect(acknowledged.size).toBeGreaterThan(0);
  }, 120_000);

  it('refuses a second process on the directory, and lets it in when the first one was killed', async () => {
    const first = startChild(script, directory.dataDir, seed);
    children.push(first.child);
    await first.hasLines(10);
    const second = startChild(script, directory.dataDir, seed);
    children.push(second.child);
    await second.ended;
    expect(second.child.exitCode).toBe(3);
    const sentence = `Another server uses the data directory ${directory.dataDir}. Stop it, or give this one a directory of its own.`;
    expect(second.lines).toEqual([`refused EmbeddedStoreError: ${sentence}`]);
    await expect(directory.open()).rejects.toThrow(sentence);
    first.child.kill('SIGKILL');
    await first.ended;
    await directory.open();
  });

  it('keeps a second process out after a refused attempt within the first', async () => {
    await directory.open();
    await expect(directory.open()).rejects.toMatchObject({ reason: 'in_use' });
    const second = startChild(script, directory.dataDir, seed);
    children.push(second.child);
    await second.ended;
    expect(second.lines.join()).toContain('Another server uses');
  });
});
