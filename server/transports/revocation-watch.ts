/** Tells once when a credential that a connection lives by was revoked. */
import type { RevokedCredentials } from '../ports/revoked-credentials.js';
import type { Identity } from '../ports/token-verifier.js';

export const REVOKED = 'The credential was revoked';

/** Also at once, where it was revoked since it was verified. Calling the answer ends the watch. */
export function watchRevocation(revoked: RevokedCredentials, identity: Identity, onRevoked: () => void): () => void {
  const check = (): void => {
    if (!revoked.isRevoked(identity)) return;
    end();
    onRevoked();
  };
  const end = revoked.onRevoked(check);
  check();
  return end;
}
