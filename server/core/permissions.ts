/** The one decision about tools: who, which tool, with which input → allow, ask or deny, and the rule that said so (TOOL-1). */
import { matchesAny } from './patterns.js';

/** What a role may do; section 5 of the protocol. */
export interface Role {
  readonly tools: {
    readonly allow?: readonly string[] | undefined;
    readonly ask?: readonly string[] | undefined;
    readonly deny?: readonly string[] | undefined;
    /** JSON Schemas that the input of a tool must fit. */
    readonly input?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined;
  };
  readonly models?: readonly string[] | undefined;
  readonly approve?: readonly string[] | undefined;
  readonly max_tokens?: number | undefined;
  readonly requests_per_minute?: number | undefined;
  readonly concurrent_turns?: number | undefined;
  /** Whether it may read the audit log. */
  readonly inspect?: boolean | undefined;
}

export type Policy = Readonly<Record<string, Role>>;

export interface Decision {
  readonly effect: 'allow' | 'ask' | 'deny';
  /** For people and for the audit: `role analyst: deny send_*`. */
  readonly rule: string;
}

/** Whether an input fits a schema; undefined where it does, else what is wrong. */
export type FitsSchema = (schema: Readonly<Record<string, unknown>>, input: unknown) => string | undefined;

/** Without `roles` in the configuration: one role that may everything. */
export const OPEN_POLICY: Policy = { admin: { tools: { allow: ['*'] }, models: ['*'], approve: ['*'], inspect: true } };

/**
 * Decides for everybody who takes part: what one of them may not do, nobody may; what one must ask for, all ask for.
 * `input` undefined asks whether the tool may be offered at all.
 */
export function decide(
  policy: Policy,
  participants: readonly (readonly string[])[],
  tool: string,
  input: Readonly<Record<string, unknown>> | undefined,
  fits: FitsSchema,
): Decision {
  let result: Decision | undefined;
  for (const roles of participants) {
    const decision = decideForOne(policy, roles, tool, input, fits);
    if (decision.effect === 'deny') return decision;
    if (!result || decision.effect === 'ask') result = decision;
  }
  return result ?? { effect: 'deny', rule: 'nobody takes part' };
}

function decideForOne(
  policy: Policy,
  roles: readonly string[],
  tool: string,
  input: Readonly<Record<string, unknown>> | undefined,
  fits: FitsSchema,
): Decision {
  let allowed: Decision | undefined;
  let asked: Decision | undefined;
  let refused: Decision | undefined;
  for (const name of roles) {
    const role = policy[name];
    if (!role) continue;
    if (matchesAny(role.tools.deny ?? [], tool)) return { effect: 'deny', rule: `role ${name}: deny ${tool}` };
    // Within a role `ask` beats `allow`; between roles what one allows is allowed.
    const isAsked = matchesAny(role.tools.ask ?? [], tool);
    if (!isAsked && !matchesAny(role.tools.allow ?? [], tool)) continue;
    const inputs = role.tools.input ?? {};
    // The model may ask for a tool named like a property that every object has.
    const schema = Object.hasOwn(inputs, tool) ? inputs[tool] : undefined;
    const mismatch = schema && input ? fits(schema, input) : undefined;
    if (mismatch !== undefined) refused ??= { effect: 'deny', rule: `role ${name}: input of ${tool}: ${mismatch}` };
    else if (isAsked) asked ??= { effect: 'ask', rule: `role ${name}: ask ${tool}` };
    else allowed ??= { effect: 'allow', rule: `role ${name}: allow ${tool}` };
  }
  return allowed ?? asked ?? refused ?? { effect: 'deny', rule: `no role of yours names ${tool}` };
}

/** A rule without what it says about the input: for the audit, which holds nobody's arguments. */
export function withoutInput(rule: string, tool: string): string {
  const mark = `: input of ${tool}`;
  const at = rule.indexOf(`${mark}: `);
  return at < 0 ? rule : rule.slice(0, at + mark.length);
}

export const canApprove = (policy: Policy, roles: readonly string[], tool: string): boolean =>
  roles.some((name) => matchesAny(policy[name]?.approve ?? [], tool));

export const canInspect = (policy: Policy, roles: readonly string[]): boolean =>
  roles.some((name) => policy[name]?.inspect === true);

export const canUseModel = (policy: Policy, roles: readonly string[], model: string): boolean =>
  roles.some((name) => matchesAny(policy[name]?.models ?? [], model));

/** The most generous `max_tokens` of the roles; undefined where one of them sets none. */
export const maxTokensOf = (policy: Policy, roles: readonly string[]): number | undefined =>
  mostGenerous(policy, roles, 'max_tokens');

/** The most generous limit of the roles; undefined where one of them sets none, or none of them is known. */
export function mostGenerous(
  policy: Policy,
  roles: readonly string[],
  limit: 'max_tokens' | 'requests_per_minute' | 'concurrent_turns',
): number | undefined {
  const bounds = roles.flatMap((name) => (policy[name] ? [policy[name][limit]] : []));
  if (bounds.length === 0) return undefined;
  return bounds.some((bound) => bound === undefined) ? undefined : Math.max(...(bounds as number[]));
}
