/** Makes a new API key. */
import { createHash, randomBytes } from 'node:crypto';

/** By this beginning scanners of repositories and logs know our keys. */
export const KEY_PREFIX = 'sk-ms-';

const KEY_BYTES = 32;

export interface MintedKey {
  /** The key itself; kept nowhere. */
  readonly key: string;
  /** What the configuration keeps of it, in hex. */
  readonly sha256: string;
}

export function mintKey(): MintedKey {
  const key = `${KEY_PREFIX}${randomBytes(KEY_BYTES).toString('base64url')}`;
  return { key, sha256: hashKey(key).toString('hex') };
}

/** A fast hash is enough: a key has 256 random bits, there is nothing to guess from a list. */
export const hashKey = (key: string): Buffer => createHash('sha256').update(key, 'utf8').digest();
