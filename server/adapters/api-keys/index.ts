/** Identity by API keys, and which credential is one. */
export { type ApiKey, createApiKeyVerifier } from './api-key-verifier.js';
export { createCredentialVerifier } from './credential-verifier.js';
export { KEY_PREFIX, mintKey } from './mint-key.js';
