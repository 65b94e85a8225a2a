/** Keys that don't change while the server runs: a set from a file, or one secret. */

import { readKeySet } from './key-set.js';
import type { KeySource } from './key-source.js';
import { PUBLIC_KEY_ALGORITHMS } from './key-source.js';

const MIN_SECRET_BYTES = 32;

/** Throws where the set holds no public key for signatures. */
export function fixedKeys(keySet: unknown): KeySource {
  const { find, count } = readKeySet(keySet);
  return {
    algorithms: PUBLIC_KEY_ALGORITHMS,
    find: (header) => find(header),
    status: () => ({ ok: true, detail: `tokens by ${count} key(s) of a file` }),
    close: () => {},
  };
}

export function secretKey(secret: string): KeySource {
  const bytes = new TextEncoder().encode(secret);
  if (bytes.length < MIN_SECRET_BYTES) throw new Error(`the secret has less than ${MIN_SECRET_BYTES} bytes`);
  return {
    algorithms: ['HS256'],
    find: async () => bytes,
    status: () => ({ ok: true, detail: 'tokens by a secret' }),
    close: () => {},
  };
}
