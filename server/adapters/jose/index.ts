/** Identity by JSON Web Tokens. */
export { fixedKeys, secretKey } from './fixed-keys.js';
export { createJwtVerifier, type JwtVerifierOptions } from './jwt-verifier.js';
export type { KeySource, KeyStatus } from './key-source.js';
export { RemoteKeys, type RemoteKeysDeps } from './remote-keys.js';
