/** Development without credentials: everybody is the principal `local`, who may everything. */
import type { Principal } from '../../../protocol/index.js';
import type { TokenVerifier } from '../../ports/token-verifier.js';

export const LOCAL: Principal = { user_id: 'local', org_id: 'local', roles: ['admin'] };

export function createDevVerifier(): TokenVerifier {
  return { required: false, verify: async () => ({ principal: LOCAL, expiresAt: undefined }) };
}
