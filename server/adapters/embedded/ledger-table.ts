/** The rows of the ledger: holds that are open, requests that were paid for, and what each window has used. */
import { type Amounts, NO_AMOUNTS, toDay } from '../../core/budget-math.js';
import type { Checkpoint, Hold, Settlement, SpendGroup, SpendQuery, SpendRow } from '../../ports/ledger.js';
import type { Database, SqlValue, Statement } from './database.js';

/** The threshold in percent that was told last. */
export interface Warned {
  readonly tokens: number;
  readonly usd: number;
}

export interface WindowRow {
  readonly used: Amounts;
  readonly warned: Warned;
}

export interface HeldRow {
  readonly hold: Hold;
  readonly checkpoint: Checkpoint | undefined;
}

export interface SettledRow {
  readonly hold: Hold;
  readonly settlement: Settlement;
  /** The windows that are told of now, and how far. */
  readonly warned: readonly { readonly key: string; readonly warned: Warned }[];
}

export const usedOf = ({ usage, costNanoUsd }: Checkpoint): Amounts => ({
  tokens: usage.input_tokens + usage.output_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens,
  nanoUsd: costNanoUsd,
});

const COLUMN: Readonly<Record<Exclude<SpendGroup, 'tag'>, string>> = {
  session: 'session_id',
  model: 'model',
  user: 'user_id',
};
const SUMS = `count(*), sum(input_tokens), sum(output_tokens), sum(cache_creation_input_tokens),
  sum(cache_read_input_tokens), sum(cost_nano_usd)`;

export class LedgerTable {
  readonly #database: Database;
  readonly #putHold: Statement;
  readonly #deleteHold: Statement;
  readonly #holds: Statement<[json: string, checkpoint: string | null]>;
  readonly #putSpend: Statement;
  readonly #addUsed: Statement;
  readonly #setWarned: Statement;
  readonly #window: Statement<[tokens: number, nanoUsd: number, warnedTokens: number, warnedUsd: number]>;

  constructor(database: Database) {
    this.#database = database;
    this.#putHold = database.prepare(
      `INSERT INTO ledger_holds (id, json, checkpoint) VALUES (?1, ?2, ?3)
       ON CONFLICT (id) DO UPDATE SET json = excluded.json, checkpoint = coalesce(excluded.checkpoint, checkpoint)`,
    );
    this.#deleteHold = database.prepare('DELETE FROM ledger_holds WHERE id = ?');
    this.#holds = database.prepare('SELECT json, checkpoint FROM ledger_holds');
    this.#putSpend = database.prepare(
      `INSERT OR IGNORE INTO ledger_spend (hold_id, org_id, user_id, day, session_id, turn_id, step, attempt, model, tags,
         input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens, cost_nano_usd, estimated)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#addUsed = database.prepare(
      `INSERT INTO ledger_windows (key, tokens, nano_usd) VALUES (?1, ?2, ?3)
       ON CONFLICT (key) DO UPDATE SET tokens = tokens + excluded.tokens, nano_usd = nano_usd + excluded.nano_usd`,
    );
    this.#setWarned = database.prepare('UPDATE ledger_windows SET warned_tokens = ?2, warned_usd = ?3 WHERE key = ?1');
    this.#window = database.prepare(
      'SELECT tokens, nano_usd, warned_tokens, warned_usd FROM ledger_windows WHERE key = ?',
    );
  }

  /** Writes a hold, new or extended. Belongs into a transaction, as `settle` does. */
  putHold(hold: Hold, checkpoint: Checkpoint | undefined): void {
    this.#putHold.run(hold.id, JSON.stringify(hold), checkpoint ? JSON.stringify(checkpoint) : null);
  }

  /** Once per hold, whoever asks. */
  settle({ hold, settlement, warned }: SettledRow): void {
    this.#deleteHold.run(hold.id);
    const used = usedOf(settlement);
    if (used.tokens === 0 && used.nanoUsd === 0) return;
    if (this.#putSpend.run(...toSpendValues(hold, settlement)) === 0) return;
    for (const { key } of hold.windows) this.#addUsed.run(key, used.tokens, used.nanoUsd);
    for (const { key, warned: told } of warned) this.#setWarned.run(key, told.tokens, told.usd);
  }

  window(key: string): WindowRow {
    const row = this.#window.first(key);
    if (!row) return { used: NO_AMOUNTS, warned: { tokens: 0, usd: 0 } };
    return { used: { tokens: row[0], nanoUsd: row[1] }, warned: { tokens: row[2], usd: row[3] } };
  }

  holds(): HeldRow[] {
    return this.#holds.all().map(([json, checkpoint]) => ({
      hold: JSON.parse(json) as Hold,
      checkpoint: checkpoint === null ? undefined : (JSON.parse(checkpoint) as Checkpoint),
    }));
  }

  spend({ orgId, userId, sinceDay, groupBy, limit }: SpendQuery): SpendRow[] {
    const groups = [...new Set(groupBy)];
    const columns = groups.map((group) => (group === 'tag' ? 'tag.value' : COLUMN[group]));
    const from = groups.includes('tag') ? 'ledger_spend LEFT JOIN json_each(ledger_spend.tags) AS tag' : 'ledger_spend';
    const by = ['day', ...columns].join(', ');
    const values: SqlValue[] = userId === undefined ? [orgId, sinceDay] : [orgId, sinceDay, userId];
    return this.#database
      .prepare(
        `SELECT ${SUMS}, ${by} FROM ${from} WHERE org_id = ? AND day >= ? ${userId === undefined ? '' : 'AND user_id = ?'}
         GROUP BY ${by} ORDER BY day DESC, sum(cost_nano_usd) DESC, ${by} LIMIT ?`,
      )
      .all(...values, limit)
      .map((row) => toSpendRow(row, groups));
  }
}

function toSpendValues(hold: Hold, { usage, costNanoUsd, estimated }: Settlement): SqlValue[] {
  return [
    hold.id,
    hold.orgId,
    hold.userId,
    toDay(hold.heldAt),
    hold.sessionId,
    hold.turnId,
    hold.step,
    hold.attempt,
    hold.model,
    JSON.stringify([...new Set(hold.tags)]),
    usage.input_tokens,
    usage.output_tokens,
    usage.cache_creation_input_tokens,
    usage.cache_read_input_tokens,
    costNanoUsd,
    estimated ? 1 : 0,
  ];
}

function toSpendRow(row: readonly SqlValue[], groups: readonly SpendGroup[]): SpendRow {
  const [requests, input, output, cacheWrite, cacheRead, costNanoUsd] = row.slice(0, 6).map(Number);
  const named = groups.flatMap((group, at) => {
    const value = row[7 + at];
    return typeof value === 'string' ? [[FIELD[group], value]] : [];
  });
  return {
    day: String(row[6]),
    ...(Object.fromEntries(named) as Partial<SpendRow>),
    requests: requests ?? 0,
    usage: {
      input_tokens: input ?? 0,
      output_tokens: output ?? 0,
      cache_creation_input_tokens: cacheWrite ?? 0,
      cache_read_input_tokens: cacheRead ?? 0,
    },
    costNanoUsd: costNanoUsd ?? 0,
  };
}

const FIELD: Readonly<Record<SpendGroup, keyof SpendRow>> = {
  session: 'sessionId',
  model: 'model',
  tag: 'tag',
  user: 'userId',
};
