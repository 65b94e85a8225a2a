/** Where the keys are that tokens are verified with. */
import type { CryptoKey, JWSHeaderParameters } from 'jose';

export interface KeyStatus {
  readonly ok: boolean;
  /** For an operator: which keys, how old, and what is wrong. */
  readonly detail: string;
}

export interface KeySource {
  /** The only algorithms that a token may be signed with; never those of a secret together with those of public keys. */
  readonly algorithms: readonly string[];
  /** The key that the header names. Rejects with an error of `jose` where there is none. */
  find(header: JWSHeaderParameters): Promise<CryptoKey | Uint8Array>;
  status(): KeyStatus;
  close(): void;
}

/** Asymmetric only: with a public key as an HMAC secret, everybody could sign. */
export const PUBLIC_KEY_ALGORITHMS: readonly string[] = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
