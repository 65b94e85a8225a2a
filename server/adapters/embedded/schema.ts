/** The tables of the embedded store, and how an older file becomes a newer one. */

/**
 * One step per version: step n makes a file of version n into one of version n + 1. Steps are only ever added.
 * `session` is the integer that stands for a session's id in every other table; it is never given twice.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

  CREATE TABLE sessions (
    session INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL,
    unfinished INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    json TEXT NOT NULL,
    -- The highest seq that retention took.
    floor_seq INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX sessions_of_owner ON sessions (org_id, user_id, created_at, session);
  CREATE INDEX sessions_unfinished ON sessions (session) WHERE unfinished = 1;
  CREATE INDEX sessions_idle ON sessions (updated_at, session) WHERE unfinished = 0 AND status = 'idle';

  CREATE TABLE events (
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    turn_id TEXT,
    at INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (session, seq)
  ) WITHOUT ROWID;

  -- One row per group commit: the deltas of all sessions in that group.
  CREATE TABLE deltas (id INTEGER PRIMARY KEY, payload TEXT NOT NULL);

  -- session 0 keeps the answers to session.create.
  CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    org_id TEXT NOT NULL,
    command_id TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    result TEXT NOT NULL,
    applied_at_seq INTEGER,
    accepted_at INTEGER NOT NULL,
    UNIQUE (session, user_id, org_id, command_id)
  );
  CREATE INDEX answers_by_age ON answers (accepted_at);

  CREATE TABLE checkpoints (session INTEGER PRIMARY KEY, seq INTEGER NOT NULL, json TEXT NOT NULL);

  CREATE TABLE feedback (
    id INTEGER PRIMARY KEY,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    turn_id TEXT,
    rating TEXT NOT NULL,
    comment TEXT,
    at INTEGER NOT NULL
  );
  `,
  `
  -- Held for requests that run; gone when they are settled.
  CREATE TABLE ledger_holds (id TEXT PRIMARY KEY, json TEXT NOT NULL, checkpoint TEXT) WITHOUT ROWID;

  -- One row per model request that used something.
  CREATE TABLE ledger_spend (
    hold_id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    day TEXT NOT NULL,
    session_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    model TEXT NOT NULL,
    tags TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_creation_input_tokens INTEGER NOT NULL,
    cache_read_input_tokens INTEGER NOT NULL,
    cost_nano_usd INTEGER NOT NULL,
    estimated INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX ledger_spend_by_day ON ledger_spend (org_id, day, user_id);

  CREATE TABLE ledger_windows (
    key TEXT PRIMARY KEY,
    tokens INTEGER NOT NULL,
    nano_usd INTEGER NOT NULL,
    warned_tokens INTEGER NOT NULL DEFAULT 0,
    warned_usd INTEGER NOT NULL DEFAULT 0
  ) WITHOUT ROWID;
    `,
  `
  CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    user_id TEXT,
    org_id TEXT,
    json TEXT NOT NULL
  );
  CREATE INDEX audit_by_age ON audit (at);
  CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append-only'); END;

  -- Tools called without the model, by the caller's key.
  CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    org_id TEXT NOT NULL,
    key TEXT NOT NULL,
    call_id TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    answer TEXT,
    claimed_at INTEGER NOT NULL,
    UNIQUE (user_id, org_id, key)
  );
  CREATE INDEX calls_by_age ON calls (claimed_at);
  `,
  `
  -- Of the last credential verified for each user.
  CREATE TABLE directory_roles (
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    -- JSON: the roles, and which credential named them.
    seen TEXT NOT NULL,
    PRIMARY KEY (org_id, user_id)
  ) WITHOUT ROWID;

  CREATE TABLE revocations (
    org_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (org_id, kind, id)
  ) WITHOUT ROWID;
  `,
  `
  -- Whose lists a session is in; made so that a list is one range of it.
  CREATE TABLE session_members (
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (org_id, user_id, created_at, session)
  ) WITHOUT ROWID;
  CREATE INDEX members_of_session ON session_members (session);
  INSERT INTO session_members SELECT org_id, user_id, created_at, session FROM sessions;
  DROP INDEX sessions_of_owner;
  `,
];

export const SCHEMA_VERSION = MIGRATIONS.length;
