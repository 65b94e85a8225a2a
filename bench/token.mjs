/**
 * A token of the bench carries the moment at which it was written. So the reader can count tokens and time them, merged
 * or not, without parsing JSON: a tilde, microseconds, a space, nothing that JSON would escape.
 */
const TILDE = 0x7e;
const QUOTE = 0x22;
const SPACE = 0x20;
const ZERO = 0x30;

export const toToken = (stampUs) => `~${stampUs} `;

/** Reads tokens up to the closing quote. Returns how many; `onStamp` gets the stamps that aren't 0. */
export function readTokens(bytes, at, onStamp) {
  let count = 0;
  for (;;) {
    const byte = bytes[at++];
    if (byte === QUOTE || byte === undefined) return count;
    if (byte !== TILDE) continue;
    count++;
    let stamp = 0;
    while (bytes[at] !== SPACE && bytes[at] !== undefined) stamp = stamp * 10 + bytes[at++] - ZERO;
    if (stamp > 0) onStamp(stamp);
  }
}
