/** Which tokens are believed: claims, times, and what forgers try. Real keys, real signatures. */
import { createHmac } from 'node:crypto';
import { exportSPKI, importJWK, type JWK, SignJWT } from 'jose';
import { createJwtVerifier, fixedKeys, type KeySource, secretKey } from '../../server/adapters/jose/index.js';
import { silentLogger } from '../../server/adapters/winston/index.js';
import type { Identity, TokenVerifier } from '../../server/ports/token-verifier.js';
import {
  AUDIENCE,
  ISSUER,
  type IssuerKey,
  makeKey,
  rawToken,
  signToken,
  type TokenOptions,
} from '../support/issuer.js';
import { ManualClock } from '../transports/support/manual-clock.js';

const clock = new ManualClock();
const now = Math.floor(clock.now() / 1_000);
const SECRET = 'a secret of at least 32 bytes, as it must be';

interface Rules {
  readonly roles?: string;
  readonly org?: string;
  readonly defaultOrg?: string | undefined;
}

function createVerifier(keys: KeySource, rules: Rules = {}): TokenVerifier {
  return createJwtVerifier({
    keys,
    issuer: ISSUER,
    audience: AUDIENCE,
    claims: { names: { roles: 'roles', org: 'org', ...rules }, defaultOrg: 'default', ...rules },
    clock,
    logger: silentLogger,
  });
}

let ec: IssuerKey;
let rsa: IssuerKey;
let stranger: IssuerKey;
let verifier: TokenVerifier;
beforeAll(async () => {
  [ec, rsa, stranger] = await Promise.all([makeKey('ec'), makeKey('rsa', 'RS256'), makeKey('ec')]);
  verifier = createVerifier(fixedKeys({ keys: [ec.publicJwk, rsa.publicJwk] }));
});

const sign = (options: TokenOptions = {}, key = ec): Promise<string> =>
  signToken(key, { nowMs: clock.now(), ...options });
const refusalOf = (token: string, by = verifier): Promise<unknown> =>
  by.verify(token).then(
    ({ principal }) => ({ believed: principal }),
    (error: { code?: string }) => error.code ?? error,
  );

it('takes a good token: who, until when, since when, and its name', async () => {
  const token = await sign({ claims: { jti: 'one', aud: ['other', AUDIENCE] } });
  expect(await verifier.verify(token)).toEqual<Identity>({
    principal: { user_id: 'alice', org_id: 'acme', roles: ['admin'] },
    expiresAt: (now + 600) * 1_000,
    issuedAt: now * 1_000,
    credentialId: 'one',
  });
});

it.each(['RS256', 'PS384', 'ES512', 'EdDSA'])('takes %s by a key set', async (alg) => {
  const key = await makeKey('k', alg);
  const own = createVerifier(fixedKeys({ keys: [key.publicJwk] }));
  expect(await refusalOf(await sign({}, key), own)).toMatchObject({ believed: { user_id: 'alice' } });
  expect(await refusalOf(await sign({ header: { kid: undefined as never } }, key), own)).toHaveProperty('believed');
});

describe('by a secret', () => {
  const hs = (alg: string, secret = SECRET): Promise<string> =>
    new SignJWT({ iss: ISSUER, aud: AUDIENCE, sub: 'alice', exp: now + 60 })
      .setProtectedHeader({ alg })
      .sign(new TextEncoder().encode(secret));
  const own = createVerifier(secretKey(SECRET));

  it('takes HS256 and nothing else', async () => {
    expect(await refusalOf(await hs('HS256'), own)).toHaveProperty('believed');
    for (const token of [await hs('HS512', SECRET.repeat(2)), await hs('HS256', `${SECRET}.`), await sign()])
      expect(await refusalOf(token, own)).toBe('unauthenticated');
  });

  it('needs 32 bytes of it', () => {
    expect(() => secretKey('x'.repeat(31))).toThrow('32 bytes');
  });
});

describe('claims', () => {
  const CASES: readonly [string, Record<string, unknown>, string][] = [
    ['no sub', { sub: undefined }, 'unauthenticated'],
    ['an empty sub', { sub: '' }, 'unauthenticated'],
    ['a sub that is no text', { sub: 7 }, 'unauthenticated'],
    ['a sub of two lines', { sub: 'alice\nadmin' }, 'unauthenticated'],
    ['a sub without end', { sub: 'a'.repeat(201) }, 'unauthenticated'],
    ['no exp', { exp: undefined }, 'unauthenticated'],
    ['an exp that is no number', { exp: String(now + 60) }, 'unauthenticated'],
    ['an exp beyond all time', { exp: 1e300 }, 'unauthenticated'],
    ['exp now', { exp: now }, 'token_expired'],
    ['exp a second ago: no tolerance', { exp: now - 1 }, 'token_expired'],
    ['exp long ago', { exp: now - 86_400 }, 'token_expired'],
    ['nbf in 6 s', { nbf: now + 6 }, 'unauthenticated'],
    ['iat in 6 s', { iat: now + 6 }, 'unauthenticated'],
    ['an iat that is no number', { iat: 'now' }, 'unauthenticated'],
    ['no issuer', { iss: undefined }, 'unauthenticated'],
    ['another issuer', { iss: `${ISSUER}/` }, 'unauthenticated'],
    ['no audience', { aud: undefined }, 'unauthenticated'],
    ['another audience', { aud: 'midstream2' }, 'unauthenticated'],
    ['an empty list of audiences', { aud: [] }, 'unauthenticated'],
    ['roles that are no texts', { roles: [{ name: 'admin' }] }, 'unauthenticated'],
    ['roles that are an object', { roles: { admin: true } }, 'unauthenticated'],
    ['too many roles', { roles: Array(257).fill('r') }, 'unauthenticated'],
    ['an org that is no text', { org: ['acme'] }, 'unauthenticated'],
    ['half a character in sub', { sub: 'al\ud800ice' }, 'unauthenticated'],
    ['half a character in org', { org: 'acme\udc00' }, 'unauthenticated'],
  ];

  it.each(CASES)('are refused with %s', async (_, claims, code) => {
    expect(await refusalOf(await sign({ claims }))).toBe(code);
  });

  it.each<[string, Record<string, unknown>]>([
    ['nbf in 5 s', { nbf: now + 5 }],
    ['iat in 5 s', { iat: now + 5 }],
    ['one second left', { exp: now + 1 }],
    ['no iat', { iat: undefined }],
    ['a name of whole characters beyond the first plane', { sub: 'ali\u{1f600}ce' }],
  ])('are taken with %s', async (_, claims) => {
    expect(await refusalOf(await sign({ claims }))).toHaveProperty('believed');
  });

  it.each<[string, Rules, Record<string, unknown>, { roles: string[]; org_id: string }]>([
    ['a text is one role', {}, { roles: 'a b' }, { roles: ['a b'], org_id: 'acme' }],
    ['none is none', {}, { roles: undefined }, { roles: [], org_id: 'acme' }],
    ['twice is once', {}, { roles: ['a', 'a'] }, { roles: ['a'], org_id: 'acme' }],
    ['without an org it is the default one', {}, { org: undefined }, { roles: ['admin'], org_id: 'default' }],
    [
      'dotted paths',
      { roles: 'realm_access.roles', org: 'tenant.id' },
      { realm_access: { roles: ['x'] }, tenant: { id: 't' } },
      { roles: ['x'], org_id: 't' },
    ],
    [
      'a whole name with dots',
      { roles: 'https://a.b/roles' },
      { 'https://a.b/roles': ['x'] },
      { roles: ['x'], org_id: 'acme' },
    ],
    ['nothing inherited', { roles: 'constructor.name' }, {}, { roles: [], org_id: 'acme' }],
  ])('say who: %s', async (_, rules, claims, expected) => {
    const own = createVerifier(fixedKeys({ keys: [ec.publicJwk] }), rules);
    expect(await refusalOf(await sign({ claims }), own)).toEqual({ believed: { user_id: 'alice', ...expected } });
  });

  it('must name an org where no default stands in', async () => {
    const own = createVerifier(fixedKeys({ keys: [ec.publicJwk] }), { defaultOrg: undefined });
    expect(await refusalOf(await sign({ claims: { org: undefined } }), own)).toBe('unauthenticated');
  });
});

describe('forgers', () => {
  const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'alice', org: 'acme', roles: ['admin'], exp: now + 60 };
  const hmac = (secret: string | Buffer, header: object): string => {
    const [head, body] = rawToken(header, claims).split('.');
    return `${head}.${body}.${createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')}`;
  };
  const pem = async (jwk: JWK): Promise<string> =>
    exportSPKI((await importJWK({ ...jwk, ext: true }, jwk.alg)) as Parameters<typeof exportSPKI>[0]);

  const TOKENS: readonly [string, () => Promise<string> | string][] = [
    ['alg none', () => rawToken({ alg: 'none' }, claims)],
    [
      'alg None with a signature',
      async () => rawToken({ alg: 'None', kid: 'ec' }, claims, (await sign()).split('.')[2]),
    ],
    ['no alg', () => rawToken({ typ: 'JWT' }, claims)],
    ['an alg that is a list', () => rawToken({ alg: ['ES256'] }, claims)],
    ['HS256 by the public key as PEM', async () => hmac(await pem(rsa.publicJwk), { alg: 'HS256', kid: 'rsa' })],
    ['HS256 by the public key as JSON', () => hmac(JSON.stringify(rsa.publicJwk), { alg: 'HS256', kid: 'rsa' })],
    ['HS256 by nothing', () => hmac('', { alg: 'HS256' })],
    ['another’s key of the same kid', () => sign({}, stranger)],
    ['an embedded key', () => sign({ header: { jwk: stranger.publicJwk } }, stranger)],
    ['an embedded key, signed rightly', () => sign({ header: { jwk: ec.publicJwk } })],
    ['jku', () => sign({ header: { jku: 'http://127.0.0.1/jwks' } })],
    ['x5u', () => sign({ header: { x5u: 'http://127.0.0.1/cert' } })],
    ['x5c', () => sign({ header: { x5c: ['AAAA'] } })],
    ['an unknown crit', () => rawToken({ alg: 'ES256', kid: 'ec', crit: ['exp'], exp: 1 }, claims, 'AAAA')],
    ['an unencoded payload', () => rawToken({ alg: 'ES256', kid: 'ec', crit: ['b64'], b64: false }, claims, 'AAAA')],
    ['a kid that is a path', () => sign({ header: { kid: '../../etc/passwd' } })],
    ['a kid of another type of key', () => sign({ header: { kid: 'rsa' } })],
    ['a logout token', () => sign({ header: { typ: 'logout+jwt' } })],
    ['no signature', async () => (await sign()).replace(/[^.]*$/, '')],
    [
      'an empty ECDSA signature',
      () => rawToken({ alg: 'ES256', kid: 'ec' }, claims, Buffer.alloc(64).toString('base64url')),
    ],
    [
      'another payload',
      async () => {
        const [head, , signature] = (await sign()).split('.');
        return `${head}.${Buffer.from(JSON.stringify({ ...claims, sub: 'root' })).toString('base64url')}.${signature}`;
      },
    ],
    ['five parts', async () => `${await sign()}.a.b`],
    ['too long a token', async () => sign({ claims: { pad: 'x'.repeat(16_384) } })],
    ['no JSON', () => 'a.b.c'],
    ['nothing', () => '..'],
    ['a header that is null', () => rawToken(null, claims)],
  ];

  it.each(TOKENS)('are refused: %s', async (_, make) => {
    expect(await refusalOf(await make())).toBe('unauthenticated');
  });

  it('learn nothing of claims before the signature is right', async () => {
    const bad = { claims: { aud: 'other', exp: now - 60 } };
    await expect(verifier.verify(await sign(bad, stranger))).rejects.toMatchObject({
      message: 'The token is not valid',
    });
  });
});

describe('a key set', () => {
  it.each<[string, unknown]>([
    ['null', null],
    ['no keys', { keys: [] }],
    ['only secrets', { keys: [{ kty: 'oct', k: 'AAAA' }] }],
    ['only keys for encryption', { keys: [{ kty: 'RSA', use: 'enc', n: 'AQAB', e: 'AQAB' }] }],
  ])('is refused: %s', (_, set) => {
    expect(() => fixedKeys(set)).toThrow();
  });

  it('with two keys that could be meant needs a kid', async () => {
    const other = await makeKey('other');
    const own = createVerifier(fixedKeys({ keys: [ec.publicJwk, other.publicJwk] }));
    expect(await refusalOf(await sign(), own)).toHaveProperty('believed');
    await expect(own.verify(await sign({ header: { kid: undefined as never } }))).rejects.toMatchObject({
      message: expect.stringContaining('kid'),
    });
  });

  it('with RSA keys too short is no help', async () => {
    const weak = await makeKey('weak', 'RS256');
    const own = createVerifier(fixedKeys({ keys: [{ ...weak.publicJwk, n: 'vZ8' }] }));
    expect(await refusalOf(await sign({}, weak), own)).toBe('unauthenticated');
  });
});
