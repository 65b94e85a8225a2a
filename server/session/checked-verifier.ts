/** The one way in for a credential: good, not revoked, and from then on the one whose roles count (TOOL-1). */
import { MidstreamError } from '../../protocol/index.js';
import type { TokenVerifier } from '../ports/token-verifier.js';
import type { Directory } from './directory.js';

/** For every wire, and for renewals. In dev nothing is looked at. */
export function createCheckedVerifier(
  verifier: TokenVerifier,
  directory: Pick<Directory, 'isCurrent' | 'isRevoked' | 'saw'>,
): TokenVerifier {
  if (!verifier.required) return verifier;
  return {
    required: true,
    async verify(credential) {
      const identity = await verifier.verify(credential);
      if (!directory.isCurrent) throw new MidstreamError('store_unavailable');
      if (directory.isRevoked(identity)) throw new MidstreamError('unauthenticated', 'The credential was revoked');
      directory.saw(identity);
      return identity;
    },
  };
}
