/** The audit log: what was decided about whom, appended and never changed. */
import type { AuditKind, AuditOutcome, AuditRecord } from '../../protocol/index.js';

export type { AuditKind, AuditOutcome, AuditRecord } from '../../protocol/index.js';

/** Where records go. What is recorded has happened: the log of a session holds it already, or an answer says it. */
export interface AuditSink {
  /**
   * Takes a record, at once and in the order of the calls. Never rejects. Resolves with whether it is durable: `true`
   * when it survives a crash of the process and of the machine, as far as the store is configured to; records of kind
   * `authentication`, which strangers can cause in any number, are not synced by themselves and may be lost in a power
   * cut. `false` when the store can't write it now: then it is kept in memory and tried again until it is written, so
   * that none is lost while the process lives; `close` tries once more. Only a store that will never write again in
   * this process (broken, closed) leaves records to the operational log, where each is a line.
   */
  record(record: AuditRecord): Promise<boolean>;
}

export interface AuditQuery {
  readonly limit: number;
  /** From the page before. An unknown one starts over. */
  readonly page?: string;
  /** Records of this org, and those of none: what concerns the server, or somebody whom nobody knew. */
  readonly orgId?: string;
  readonly userId?: string;
  readonly kind?: AuditKind;
  readonly outcome?: AuditOutcome;
  /** `at`, in milliseconds since 1970: from here on. */
  readonly since?: number;
  /** Before this. */
  readonly until?: number;
}

export interface AuditPage {
  readonly records: readonly AuditRecord[];
  /** Opaque; undefined on the last page. Later records don't shift the pages of a reader. */
  readonly nextPage: string | undefined;
}

export interface AuditLog extends AuditSink {
  /** The last recorded first; what was recorded before the call and is durable. */
  read(query: AuditQuery): Promise<AuditPage>;
  /** Removes records with `at` before this (milliseconds since 1970). Nothing else ever changes or removes one. */
  sweep(before: number): Promise<void>;
}
