/** Which credentials were revoked, as this node knows it now. */
import type { Identity } from './token-verifier.js';

export interface RevokedCredentials {
  isRevoked(identity: Identity): boolean;
  /** Calls `listener` after each revocation, synchronously; it may ask `isRevoked`. The answer ends that. */
  onRevoked(listener: () => void): () => void;
}
