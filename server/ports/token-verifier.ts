/** Credentials: who is acting. */
import type { Principal } from '../../protocol/index.js';

export interface Identity {
  readonly principal: Principal;
  /** When the credential ends, milliseconds since 1970; undefined where it doesn't. */
  readonly expiresAt: number | undefined;
  /** When it was issued, milliseconds since 1970; undefined where it doesn't say. */
  readonly issuedAt?: number | undefined;
  /** What names this one credential: `jti` of a token, `id` of an API key; undefined where it has no name. */
  readonly credentialId?: string | undefined;
}

export interface TokenVerifier {
  /** Whether a credential is asked for at all; where not, `verify(undefined)` names the principal. */
  readonly required: boolean;
  /**
   * Rejects with `MidstreamError`: `unauthenticated` or `token_expired`; `store_unavailable` where it can't be told,
   * for the keys of the issuer could not be had.
   */
  verify(credential: string | undefined): Promise<Identity>;
}
