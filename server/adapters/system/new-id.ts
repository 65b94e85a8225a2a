/** Unguessable ids from the system's cryptographic generator. */
import { randomFillSync } from 'node:crypto';
import type { NewId } from '../../ports/identity.js';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** 22 characters of 62 are 130 bits. */
const LENGTH = 22;
const POOL_BYTES = 8_192;
/** Bytes from here on are left out, so that every character is as likely. */
const FAIR = 256 - (256 % ALPHABET.length);

export function createNewId(): NewId {
  const pool = Buffer.allocUnsafe(POOL_BYTES);
  let at = POOL_BYTES;
  const nextByte = (): number => {
    if (at === POOL_BYTES) {
      randomFillSync(pool);
      at = 0;
    }
    return pool[at++] as number;
  };
  return (prefix) => {
    let id = `${prefix}_`;
    while (id.length < prefix.length + 1 + LENGTH) {
      const byte = nextByte();
      if (byte < FAIR) id += ALPHABET[byte % ALPHABET.length];
    }
    return id;
  };
}
