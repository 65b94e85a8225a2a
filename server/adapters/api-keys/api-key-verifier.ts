/** Verifies API keys against the hashes of the configuration. */
import { timingSafeEqual } from 'node:crypto';
import { MidstreamError } from '../../../protocol/index.js';
import type { Identity, TokenVerifier } from '../../ports/token-verifier.js';
import { hashKey } from './mint-key.js';

export interface ApiKey {
  /** Its name in logs and the audit. */
  readonly id: string;
  /** In lower-case hex. */
  readonly sha256: string;
  readonly user_id: string;
  readonly org_id: string;
  readonly roles: readonly string[];
  /** RFC 3339; without it, it may be as old as any. */
  readonly created_at?: string | undefined;
}

export function createApiKeyVerifier(keys: readonly ApiKey[]): TokenVerifier {
  const entries = keys.map(({ id, sha256, user_id, org_id, roles, created_at }) => {
    const principal = { user_id, org_id, roles: [...roles], key_id: id };
    const issuedAt = created_at === undefined ? undefined : Date.parse(created_at);
    const identity: Identity = { principal, expiresAt: undefined, issuedAt, credentialId: id };
    return { hash: Buffer.from(sha256, 'hex'), identity };
  });
  return {
    required: true,
    async verify(credential) {
      const given = hashKey(credential ?? '');
      let found: Identity | undefined;
      // All entries, found or not, so that the time tells neither which one it was nor how near a guess came.
      for (const { hash, identity } of entries) if (timingSafeEqual(hash, given)) found = identity;
      if (found === undefined || credential === undefined)
        throw new MidstreamError('unauthenticated', 'The API key is not valid');
      return found;
    },
  };
}
