/** Credentials: who is acting. */
import type { Principal } from '../../protocol/index.js';

export interface Identity {
  readonly principal: Principal;
  /** When the credential ends, milliseconds since 1970; undefined where it doesn't. */
  readonly expiresAt: number | undefined;
}

export interface TokenVerifier {
  /** Whether a credential is asked for at all; where not, `verify(undefined)` names the principal. */
  readonly required: boolean;
  /** Rejects with `MidstreamError` `unauthenticated` or `token_expired`. */
  verify(credential: string | undefined): Promise<Identity>;
}
