/** How credentials are verified: not at all in dev, else by tokens, by API keys, or both. */
import { createApiKeyVerifier, createCredentialVerifier } from '../adapters/api-keys/index.js';
import { createDevVerifier } from '../adapters/dev/index.js';
import { createJwtVerifier, fixedKeys, type KeySource, RemoteKeys, secretKey } from '../adapters/jose/index.js';
import type { Config, JwtConfig } from '../config/index.js';
import type { Clock } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';
import type { TokenVerifier } from '../ports/token-verifier.js';

export interface ChosenVerifier {
  readonly verifier: TokenVerifier;
  /** Where tokens are verified: what with. */
  readonly keys?: KeySource;
}

export function createVerifier({ auth }: Config, clock: Clock, logger: Logger): ChosenVerifier {
  if (auth.mode === 'dev') return { verifier: createDevVerifier() };
  const { jwt, apiKeys } = auth;
  const keys = jwt && createKeySource(jwt, clock, logger);
  const verifier = createCredentialVerifier({
    token: jwt && keys && createJwtVerifier({ ...jwt, keys, claims: toClaimRules(jwt), clock, logger }),
    apiKey: apiKeys.length > 0 ? createApiKeyVerifier(apiKeys) : undefined,
  });
  return { verifier, ...(keys && { keys }) };
}

const toClaimRules = ({ rolesClaim, orgClaim, defaultOrg }: JwtConfig) => ({
  names: { roles: rolesClaim, org: orgClaim },
  defaultOrg,
});

function createKeySource({ keys }: JwtConfig, clock: Clock, logger: Logger): KeySource {
  if (keys.kind === 'file') return fixedKeys(keys.keySet);
  if (keys.kind === 'secret') return secretKey(keys.secret.reveal());
  const remote = new RemoteKeys({ url: keys.url, clock, logger });
  // Not waited for: an issuer that is away must not keep a server from starting; `/ready` tells.
  void remote.start();
  return remote;
}
