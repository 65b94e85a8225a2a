/** The scripts that run inside Redis, each with its contract in its header. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export type Script =
  | 'audit-append'
  | 'call-claim'
  | 'call-settle'
  | 'directory-put'
  | 'directory-read'
  | 'directory-revoke'
  | 'ledger-extend'
  | 'ledger-lapsed'
  | 'ledger-reserve'
  | 'ledger-settle'
  | 'ledger-windows'
  | 'orgs-announce'
  | 'orgs-read'
  | 'rate-give-back'
  | 'rate-take'
  | 'seat-renew'
  | 'seat-take'
  | 'answer-find'
  | 'changes-note'
  | 'inbox-post'
  | 'lease-look'
  | 'lease-claim'
  | 'lease-release'
  | 'lease-renew'
  | 'log-append'
  | 'log-sweep'
  | 'log-tail'
  | 'log-trim'
  | 'owner-admit'
  | 'owner-settle'
  | 'session-checkpoint'
  | 'session-create'
  | 'session-remove'
  | 'unfinished-add'
  | 'unfinished-drop'
  | 'unfinished-keep';

interface ScriptText {
  readonly text: string;
  readonly sha: string;
}

const read = (name: string): string => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8');

const loaded = new Map<Script, ScriptText>();

/** What goes by the windows of budgets. */
const OF_WINDOWS: ReadonlySet<Script> = new Set(['ledger-extend', 'ledger-reserve', 'ledger-settle', 'ledger-windows']);

/** Every script begins with `clock.lua`: `now_us()` and `now_ms()`; those of the ledger go on with `windows.lua`. */
export function textOf(script: Script): ScriptText {
  let known = loaded.get(script);
  if (!known) {
    const shared = OF_WINDOWS.has(script) ? ['clock', 'windows'] : ['clock'];
    const text = [...shared, script].map(read).join('\n');
    known = { text, sha: createHash('sha1').update(text).digest('hex') };
    loaded.set(script, known);
  }
  return known;
}
