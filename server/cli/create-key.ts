/** `midstream keys create`: prints a new API key once, and the line for the configuration. */
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { mintKey } from '../adapters/api-keys/index.js';
import type { Output } from './output.js';

export const KEYS_USAGE = 'midstream keys create [--id <id>] [--user <user>] [--org <org>] [--roles <a,b>]';

const DEFAULT_ORG = 'default';
const MAX_CHARS = { id: 100, user: 200, org: 200, roles: 100 } as const;

/** Throws with a sentence where the arguments don't fit. */
export function createKey(args: readonly string[], { stdout, stderr }: Output): void {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ args: [...args], options: { id: text, user: text, org: text, roles: text } });
  const id = checked('id', values.id ?? `key-${randomBytes(4).toString('hex')}`);
  const roles = (values.roles ?? '')
    .split(',')
    .map((role) => role.trim())
    .filter((role) => role !== '')
    .map((role) => checked('roles', role));
  const { key, sha256 } = mintKey();
  const line = {
    id,
    sha256,
    user_id: checked('user', values.user ?? id),
    org_id: checked('org', values.org ?? DEFAULT_ORG),
    roles,
    created_at: new Date().toISOString(),
  };
  stderr('The key, shown this once. Whoever has it acts as its user:\n');
  stdout(`${key}\n`);
  stderr('For "api_keys" in the configuration file, which keeps only its hash:\n');
  stdout(`${JSON.stringify(line)}\n`);
  if (roles.length === 0) stderr('It has no role, so it may call no tool and no model; name some with --roles.\n');
}

function checked(option: keyof typeof MAX_CHARS, value: string): string {
  if (value !== '' && value.length <= MAX_CHARS[option] && !/\p{Cc}/u.test(value)) return value;
  throw new Error(`--${option}: must be a text of 1 to ${MAX_CHARS[option]} characters`);
}
