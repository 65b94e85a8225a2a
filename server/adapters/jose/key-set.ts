/** Reads a JSON Web Key Set: public keys for signatures, and nothing else of it. */
import { createLocalJWKSet, type JSONWebKeySet, type JWK, type LocalJWKSet } from 'jose';

const PUBLIC_TYPES = new Set(['RSA', 'EC', 'OKP']);
const MAX_KEYS = 100;

/** Throws with a sentence where it holds no key that a token could be verified with. */
export function readKeySet(json: unknown): { readonly find: LocalJWKSet; readonly count: number } {
  const keys: unknown = typeof json === 'object' && json !== null && 'keys' in json ? json.keys : undefined;
  if (!Array.isArray(keys)) throw new Error('it is no JSON Web Key Set: it has no list "keys"');
  // Secrets and private keys have no place in a set that others can read: a token must not be verified with one.
  const usable = keys.filter(isPublicKey);
  if (usable.length === 0) throw new Error('it holds no public key for signatures');
  if (usable.length > MAX_KEYS) throw new Error(`it holds ${usable.length} keys; at most ${MAX_KEYS} are taken`);
  const set: JSONWebKeySet = { keys: usable };
  return { find: createLocalJWKSet(set), count: usable.length };
}

function isPublicKey(key: unknown): key is JWK {
  if (typeof key !== 'object' || key === null) return false;
  const { kty, d, use } = key as JWK;
  return PUBLIC_TYPES.has(String(kty)) && d === undefined && (use === undefined || use === 'sig');
}
