/** Who the claims of a verified token speak of. */
import type { JWTPayload } from 'jose';
import type { Principal } from '../../../protocol/index.js';
import type { Identity } from '../../ports/token-verifier.js';

export interface ClaimNames {
  /** A claim, or a dotted path to one: `realm_access.roles`. */
  readonly roles: string;
  readonly org: string;
}

export interface ClaimRules {
  readonly names: ClaimNames;
  /** The organisation of tokens that name none; undefined: each must name one. */
  readonly defaultOrg: string | undefined;
}

/** Thrown with a sentence for the bearer, whose token's signature is good. */
export class ClaimError extends Error {}

const MAX_NAME_CHARS = 200;
const MAX_ROLES = 256;
const MAX_ROLE_CHARS = 100;
/** The end of the year 9999, in seconds. */
const MAX_SECONDS = 253_402_300_799;

/** Throws `ClaimError` where they don't name a principal. */
export function toIdentity(payload: JWTPayload, { names, defaultOrg }: ClaimRules): Identity {
  const principal: Principal = {
    user_id: toName('sub', payload.sub),
    org_id: toName(names.org, claimAt(payload, names.org) ?? defaultOrg),
    roles: toRoles(names.roles, claimAt(payload, names.roles)),
  };
  const { jti } = payload;
  return {
    principal,
    expiresAt: toMs('exp', payload.exp),
    issuedAt: payload.iat === undefined ? undefined : toMs('iat', payload.iat),
    credentialId: typeof jti === 'string' ? jti : undefined,
  };
}

/** A claim by its whole name (`https://example.com/roles`), or else by its path. */
function claimAt(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  let at: unknown = payload;
  for (const step of name.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string, unknown>)[step];
  }
  return at;
}

function toName(claim: string, value: unknown): string {
  // Control characters could make one name of two, in keys and in logs; half a character has no bytes to be stored as.
  if (typeof value === 'string' && value !== '' && value.length <= MAX_NAME_CHARS && !/[\p{Cc}\p{Cs}]/u.test(value))
    return value;
  throw new ClaimError(
    `The token’s ${claim} must be a text of 1 to ${MAX_NAME_CHARS} characters, without control characters or halves of one`,
  );
}

function toRoles(claim: string, value: unknown): string[] {
  if (value === undefined) return [];
  const roles: unknown[] = Array.isArray(value) ? value : [value];
  const areNames = roles.every((r) => typeof r === 'string' && r !== '' && r.length <= MAX_ROLE_CHARS);
  if (areNames && roles.length <= MAX_ROLES) return [...new Set(roles as string[])];
  throw new ClaimError(`The token’s ${claim} must be a text, or a list of at most ${MAX_ROLES} texts`);
}

function toMs(claim: string, seconds: unknown): number {
  if (typeof seconds === 'number' && seconds >= 0 && seconds <= MAX_SECONDS) return Math.floor(seconds * 1_000);
  throw new ClaimError(`The token’s ${claim} must be a time in seconds since 1970`);
}
