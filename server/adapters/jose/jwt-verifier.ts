/** Verifies JSON Web Tokens: signature, issuer, audience, time, and then whom they speak of. */
import { errors, type JWTPayload, jwtVerify } from 'jose';
import { MidstreamError } from '../../../protocol/index.js';
import type { Clock } from '../../ports/clock.js';
import type { Logger } from '../../ports/logger.js';
import type { Identity, TokenVerifier } from '../../ports/token-verifier.js';
import { ClaimError, type ClaimRules, toIdentity } from './claims.js';
import type { KeySource } from './key-source.js';
import { refuseHeader } from './token-header.js';

export interface JwtVerifierOptions {
  readonly keys: KeySource;
  readonly issuer: string;
  readonly audience: string;
  readonly claims: ClaimRules;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** For `nbf` and `iat` alone: a token never lives on after its `exp` (AUTH-2). */
const TOLERANCE_S = 5;

export function createJwtVerifier(options: JwtVerifierOptions): TokenVerifier {
  return {
    required: true,
    async verify(credential) {
      if (credential === undefined) throw new MidstreamError('unauthenticated');
      const refusal = refuseHeader(credential, options.keys.algorithms);
      if (refusal !== undefined) throw new MidstreamError('unauthenticated', refusal);
      const payload = await checkToken(credential, options).catch((error: unknown) => {
        throw toRefusal(error, options.logger);
      });
      return checkTime(payload, options);
    },
  };
}

async function checkToken(token: string, { keys, issuer, audience, clock }: JwtVerifierOptions): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, (header) => keys.find(header), {
    algorithms: [...keys.algorithms],
    issuer,
    audience,
    requiredClaims: ['sub', 'exp'],
    clockTolerance: TOLERANCE_S,
    currentDate: new Date(clock.now()),
  });
  return payload;
}

function checkTime(payload: JWTPayload, { claims, clock }: JwtVerifierOptions): Identity {
  try {
    const identity = toIdentity(payload, claims);
    const now = clock.now();
    if (identity.expiresAt !== undefined && identity.expiresAt <= now) throw new MidstreamError('token_expired');
    if (identity.issuedAt !== undefined && identity.issuedAt > now + TOLERANCE_S * 1_000)
      throw new ClaimError('The token’s iat is in the future; compare the clocks');
    return identity;
  } catch (error) {
    throw error instanceof ClaimError ? new MidstreamError('unauthenticated', error.message) : error;
  }
}

/** `jose` looks at claims only after the signature, so what it says of them tells a forger nothing. */
function toRefusal(error: unknown, logger: Logger): MidstreamError {
  if (error instanceof MidstreamError) return error;
  if (error instanceof errors.JWTExpired) return new MidstreamError('token_expired');
  if (error instanceof errors.JWTClaimValidationFailed)
    return new MidstreamError('unauthenticated', `The token’s ${error.claim} is missing or not what this server takes`);
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return new MidstreamError('unauthenticated', 'The token names no kid, and several keys could be meant');
  // A key of the issuer that can't be used, such as RSA below 2048 bits, is for the operator to know.
  if (!(error instanceof errors.JOSEError))
    logger.warn('a token could not be verified', { reason: error instanceof Error ? error.message : String(error) });
  return new MidstreamError('unauthenticated', 'The token is not valid');
}
