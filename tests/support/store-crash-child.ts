/**
 * A process to be killed: appends to a store as fast as it is acknowledged, and prints what was. Its arguments: the
 * data directory and a seed. A line `d|e|a <session> <seq>` says that all up to `seq` was acknowledged.
 */
import { writeSync } from 'node:fs';
import type { LogRecord } from '../../server/core/log-record.js';
import { openEmbeddedStore } from '../../server/adapters/embedded/index.js';
import { createRandom } from './store-random.js';
import { aDelta, anAnswer, anEvent, aRow } from './store-records.js';

const SESSIONS = 4;
const [dataDir = '', seed = '1'] = process.argv.slice(2);
const random = createRandom(Number(seed));

/** Unbuffered: a line is out before the process can be killed after it. */
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};

async function write(store: Awaited<ReturnType<typeof openEmbeddedStore>>, sessionId: string): Promise<never> {
  if ((await store.sessions.get(sessionId)) === undefined) await store.sessions.create(aRow(sessionId));
  const lease = await store.leases.claim(sessionId);
  const token = lease?.token ?? '';
  const [last] = await store.log.read(sessionId, { afterSeq: 0, limit: 1, order: 'desc' });
  let head = Math.max(last?.seq ?? 0, (await store.log.readDeltas(sessionId, 0)).at(-1)?.seq ?? 0);
  for (;;) {
    const records: LogRecord[] = [];
    const count = 1 + Math.floor(random() * 3);
    const isDelta = random() < 0.6;
    for (let i = 0; i < count; i++)
      records.push(isDelta ? aDelta(++head) : anEvent(++head, { text: 'y'.repeat(random() * 2_000) }));
    if (isDelta) {
      await store.log.append({ sessionId, token, records });
      say(`d ${sessionId} ${head}`);
      continue;
    }
    // Answer and row name the last seq of their append, so that the reader sees what they belong to.
    const answers = [anAnswer(sessionId, { commandId: `c${head}`, appliedAtSeq: head })];
    const row = { status: 'running', unfinished: true, updatedAt: head, json: String(head) } as const;
    await store.log.append({ sessionId, token, records, answers, row });
    say(`e ${sessionId} ${head}`);
  }
}

async function main(): Promise<void> {
  const store = await openEmbeddedStore({ dataDir, fsync: 'group' });
  say('open');
  await Promise.all(Array.from({ length: SESSIONS }, (_, i) => write(store, `sesn_${i}`)));
}

main().catch((error: Error) => {
  say(`refused ${error.name}: ${error.message}`);
  process.exitCode = 3;
});
