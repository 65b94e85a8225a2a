/** Takes new roles while the server runs: whole or not at all, logged and audited either way. */
import { type Config, ConfigError } from './config/index.js';
import type { AuditOutcome, AuditSink } from './ports/audit-log.js';
import type { Clock } from './ports/clock.js';
import type { Logger } from './ports/logger.js';

export interface PolicyReloadDeps {
  /** Whether the server was started with roles. */
  readonly hasRoles: boolean;
  /** Makes the roles of a configuration the ones that decide; at once, and without failing. */
  readonly apply: (config: Config) => void;
  readonly audit: AuditSink;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createPolicyReload(deps: PolicyReloadDeps): (source: Config | (() => Config)) => boolean {
  const { apply, audit, clock, logger } = deps;
  let { hasRoles } = deps;
  const record = (outcome: AuditOutcome, rule: string): void => {
    const at = new Date(clock.now()).toISOString();
    void audit.record({ at, kind: 'policy_change', rule, outcome });
  };
  return (source) => {
    try {
      const config = typeof source === 'function' ? source() : source;
      const names = Object.keys(config.roles ?? {});
      // Without roles everything is allowed: a file that was moved away must not open a server that runs.
      if (hasRoles && config.roles === undefined)
        throw new ConfigError([{ path: 'roles', message: 'are gone, and without any all is allowed; start anew' }]);
      apply(config);
      hasRoles = config.roles !== undefined;
      logger.info('the roles were read again; other settings need a new start', { roles: names });
      record('applied', hasRoles ? `roles: ${names.join(', ')}` : 'no roles');
      return true;
    } catch (error) {
      const mistakes = error instanceof ConfigError ? error.mistakes : [{ path: '', message: String(error) }];
      logger.error('the configuration has mistakes; the roles stay as they were', { mistakes });
      record('refused', `${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`} in the configuration`);
      return false;
    }
  };
}
