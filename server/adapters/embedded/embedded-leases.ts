/** Leases within one process: the data directory is locked, so whoever asks here is the only node. */
import { randomBytes } from 'node:crypto';
import type { Lease, Leases } from '../../ports/lease.js';
import type { GroupCommit } from './group-commit.js';
import type { SessionWriters } from './session-writers.js';

export class EmbeddedLeases implements Leases {
  readonly #commits: GroupCommit;
  readonly #writers: SessionWriters;
  /** Random per run and counted within it, so that no token is ever given twice. */
  readonly #prefix = randomBytes(12).toString('hex');
  #given = 0;

  constructor(commits: GroupCommit, writers: SessionWriters) {
    this.#commits = commits;
    this.#writers = writers;
  }

  async claim(sessionId: string): Promise<Lease> {
    this.#commits.requireWritable();
    const lease: Lease = { token: `${this.#prefix}.${++this.#given}` };
    const writer = this.#writers.load(sessionId);
    // From here on the old holder is refused. What it had queued before is written; the new one reads after it.
    writer.token = lease.token;
    await this.#commits.settled();
    this.#commits.requireWritable();
    if (writer.token === lease.token) this.#writers.refresh(writer);
    return lease;
  }

  async release(sessionId: string, lease: Lease): Promise<void> {
    const writer = this.#writers.find(sessionId);
    if (writer?.token !== lease.token) return;
    writer.token = undefined;
    await this.#commits.settled();
    if (this.#writers.find(sessionId) === writer && writer.token === undefined) this.#writers.drop(sessionId);
  }
}
