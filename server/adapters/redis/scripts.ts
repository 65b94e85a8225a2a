/** The scripts that run inside Redis, each with its contract in its header. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export type Script =
  | 'directory-put'
  | 'directory-read'
  | 'directory-revoke'
  | 'rate-give-back'
  | 'rate-take'
  | 'seat-renew'
  | 'seat-take'
  | 'answer-find'
  | 'lease-claim'
  | 'lease-release'
  | 'lease-renew'
  | 'log-append'
  | 'log-sweep'
  | 'log-trim'
  | 'owner-admit'
  | 'owner-settle'
  | 'session-checkpoint'
  | 'session-create'
  | 'session-remove'
  | 'unfinished-add'
  | 'unfinished-drop';

interface ScriptText {
  readonly text: string;
  readonly sha: string;
}

const read = (name: string): string => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8');

const loaded = new Map<Script, ScriptText>();

/** Every script begins with `clock.lua`: `now_us()` and `now_ms()`. */
export function textOf(script: Script): ScriptText {
  let known = loaded.get(script);
  if (!known) {
    const text = `${read('clock')}\n${read(script)}`;
    known = { text, sha: createHash('sha1').update(text).digest('hex') };
    loaded.set(script, known);
  }
  return known;
}
