/** Tokens of an issuer that shares a secret with the server, for as many users as a test wants. */
import { createHmac } from 'node:crypto';

export const SECRET = 'of-thirty-two-bytes-at-the-very-least';
const NAMES = { iss: 'https://issuer.test', aud: 'midstream' };

/** The environment of a server that takes these tokens. */
export const IDENTITY_ENV = {
  MIDSTREAM_JWT_SECRET: SECRET,
  MIDSTREAM_JWT_ISSUER: NAMES.iss,
  MIDSTREAM_JWT_AUDIENCE: NAMES.aud,
};

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

export interface Who {
  readonly sub: string;
  readonly org?: string;
  readonly roles?: readonly string[];
  readonly [claim: string]: unknown;
}

export function tokenFor({ sub, org = 'acme', roles = ['user'], ...claims }: Who): string {
  const now = Math.floor(Date.now() / 1_000);
  const payload = { ...NAMES, sub, org, roles, iat: now, exp: now + 600, ...claims };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(payload)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

export const bearerOf = (who: Who): { Authorization: string } => ({ Authorization: `Bearer ${tokenFor(who)}` });
