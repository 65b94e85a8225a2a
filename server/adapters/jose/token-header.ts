/** What the header of a token may say; looked at before any key is. */
import { decodeProtectedHeader, type ProtectedHeaderParameters } from 'jose';

/** Longer than any real token, and as much as a frame may carry. */
const MAX_TOKEN_CHARS = 16_384;
const MAX_KID_CHARS = 512;

/** With these a token would bring its own key, or say where one is. */
const OWN_KEYS = ['jku', 'jwk', 'x5u', 'x5c'] as const;

/** Tokens of another kind (logout, security events, proofs of possession) are no proof of who is asking (RFC 8725 §3.11). */
const TYPES = ['jwt', 'at+jwt'];

/** What is wrong with it, as a sentence; undefined where its signature may be looked at. */
export function refuseHeader(token: string, algorithms: readonly string[]): string | undefined {
  if (token.length > MAX_TOKEN_CHARS) return `The token is longer than ${MAX_TOKEN_CHARS} characters`;
  let header: ProtectedHeaderParameters;
  try {
    header = decodeProtectedHeader(token);
  } catch {
    return 'The token can’t be read';
  }
  if (typeof header.alg !== 'string' || !algorithms.includes(header.alg))
    return `The token must be signed with one of ${algorithms.join(', ')}`;
  const own = OWN_KEYS.find((name) => name in header);
  if (own !== undefined) return `The token’s header must not have "${own}"`;
  if ('crit' in header) return 'The token’s header has extensions (crit) that this server doesn’t know';
  if (header.kid !== undefined && (typeof header.kid !== 'string' || header.kid.length > MAX_KID_CHARS))
    return 'The token’s kid must be a short text';
  const { typ } = header;
  if (
    typ !== undefined &&
    !(typeof typ === 'string' && TYPES.includes(typ.toLowerCase().replace(/^application\//, '')))
  )
    return 'The token is of another type than JWT';
  return undefined;
}
