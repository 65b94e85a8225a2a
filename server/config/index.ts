/** What the rest of the server may know of the configuration. */
export type { ApiKeyConfig, JwtConfig } from './auth-config.js';
export { type AgentConfig, type Config, type ConfigSource, type HttpToolConfig, parseConfig } from './config.js';
export { ConfigError, describeMistakes, type Mistake } from './config-error.js';
export type { RefuseSchema } from './cross-checks.js';
export type { FileConfigInput, PriceConfig, RetentionConfig, RoleConfig } from './file-schema.js';
export { type ConfigKey, configReference } from './reference.js';
export { Secret } from './secret.js';
