/** Tells API keys and tokens apart by their form alone, and asks the verifier of each. */
import { MidstreamError } from '../../../protocol/index.js';
import type { TokenVerifier } from '../../ports/token-verifier.js';
import { KEY_PREFIX } from './mint-key.js';

export interface CredentialVerifiers {
  /** undefined: none is configured. */
  readonly token: TokenVerifier | undefined;
  readonly apiKey: TokenVerifier | undefined;
}

/** Three parts with dots between them. A key of ours never has a dot. */
const isToken = (credential: string): boolean =>
  !credential.startsWith(KEY_PREFIX) && /^[^.]+\.[^.]*\.[^.]*$/.test(credential);

/** Whichever of the two headers it came in, and in the first frame of a WebSocket. */
export function createCredentialVerifier({ token, apiKey }: CredentialVerifiers): TokenVerifier {
  return {
    required: true,
    async verify(credential) {
      if (credential === undefined) throw new MidstreamError('unauthenticated');
      const verifier = isToken(credential) ? token : apiKey;
      if (verifier === undefined) throw new MidstreamError('unauthenticated', 'The credential is not valid');
      return verifier.verify(credential);
    },
  };
}
