/** Every revocation there is, in memory: asked at each request and at each decision about a tool. */
import type { Principal } from '../../protocol/index.js';
import type { Revocation } from '../ports/directory-store.js';
import type { RevokedCredentials } from '../ports/revoked-credentials.js';
import type { Identity } from '../ports/token-verifier.js';

/** What of an identity a revocation can be about. */
export interface Credential extends Pick<Identity, 'issuedAt' | 'credentialId'> {
  readonly principal: Pick<Principal, 'user_id' | 'org_id'>;
}

export class RevocationBook implements RevokedCredentials {
  readonly #revokedAt = new Map<string, number>();
  readonly #listeners = new Set<() => void>();

  /** A later one moves the time on, an earlier one changes nothing. */
  add({ kind, orgId, id, at }: Revocation): void {
    const key = toKey(kind, orgId, id);
    if ((this.#revokedAt.get(key) ?? Number.NEGATIVE_INFINITY) >= at) return;
    this.#revokedAt.set(key, at);
    for (const listener of [...this.#listeners]) listener();
  }

  isRevoked({ principal: { user_id, org_id }, issuedAt, credentialId }: Credential): boolean {
    // Who doesn't say when it was issued may have been issued before.
    const since = issuedAt ?? Number.NEGATIVE_INFINITY;
    const isDead = (kind: Revocation['kind'], id: string): boolean => {
      const at = this.#revokedAt.get(toKey(kind, org_id, id));
      return at !== undefined && since <= at;
    };
    return isDead('revoked_user', user_id) || (credentialId !== undefined && isDead('revoked_key', credentialId));
  }

  onRevoked(listener: () => void): () => void {
    const own = (): void => listener();
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }
}

/** As JSON, so that no name can be taken for another. */
const toKey = (kind: Revocation['kind'], orgId: string, id: string): string => JSON.stringify([kind, orgId, id]);
