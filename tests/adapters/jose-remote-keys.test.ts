/** Keys by URL: rotation, outage, and floods of unknown kids, against a real HTTP server. */
import { createJwtVerifier, RemoteKeys } from '../../server/adapters/jose/index.js';
import { silentLogger } from '../../server/adapters/winston/index.js';
import type { TokenVerifier } from '../../server/ports/token-verifier.js';
import { AUDIENCE, ISSUER, Issuer, type IssuerKey, makeKey, type TokenOptions } from '../support/issuer.js';
import { ManualClock } from '../transports/support/manual-clock.js';

const REFRESH_MS = 600_000;
const COOLDOWN_MS = 30_000;
const RETRY_MS = 5_000;

let issuer: Issuer;
let first: IssuerKey;
let clock: ManualClock;
let keys: RemoteKeys;
let verifier: TokenVerifier;

function create(more: { timeoutMs?: number } = {}): void {
  keys = new RemoteKeys({ url: issuer.url, clock, logger: silentLogger, ...more });
  const claims = { names: { roles: 'roles', org: 'org' }, defaultOrg: 'default' };
  verifier = createJwtVerifier({ keys, issuer: ISSUER, audience: AUDIENCE, claims, clock, logger: silentLogger });
}

beforeEach(async () => {
  issuer = await Issuer.start();
  first = await issuer.addKey('first');
  clock = new ManualClock();
  create();
});
afterEach(async () => {
  keys.close();
  await issuer.stop();
});

const verify = async (options: TokenOptions = {}): Promise<string> => {
  const token = await issuer.token({ nowMs: clock.now(), expiresIn: 86_400, ...options });
  return verifier.verify(token).then(
    () => 'believed',
    (error: { code: string }) => error.code,
  );
};
/** Lets time pass up to the fetch that is due, and waits until it is over. */
const passToFetch = async (ms: number): Promise<void> => {
  const fetched = issuer.nextFetch();
  clock.advance(ms);
  await fetched;
  await keys.start();
};

it('fetches once, ahead of the first token, and tells of it', async () => {
  expect(keys.status()).toMatchObject({ ok: false, detail: expect.stringContaining('under way') });
  await keys.start();
  expect(keys.status()).toMatchObject({ ok: true, detail: expect.stringContaining('1 key(s)') });
  for (let n = 0; n < 5; n += 1) expect(await verify()).toBe('believed');
  expect(issuer.fetches).toBe(1);
});

it('makes tokens that come before the keys wait for the one fetch', async () => {
  const started = keys.start();
  expect(await Promise.all([verify(), verify(), verify()])).toEqual(['believed', 'believed', 'believed']);
  await started;
  expect(issuer.fetches).toBe(1);
});

it('takes a new key at once when a token names it, and the old one as long as it is in the set', async () => {
  await keys.start();
  clock.advance(COOLDOWN_MS);
  await issuer.addKey('second');
  expect(await verify()).toBe('believed');
  expect(issuer.fetches).toBe(2);
  expect(await verify({ key: first })).toBe('believed');
});

it('fetches once per cooldown, however many unknown kids come at once and one after the other', async () => {
  await keys.start();
  clock.advance(COOLDOWN_MS);
  const forger = await makeKey('x');
  const flood = (n: number): Promise<string[]> =>
    Promise.all(Array.from({ length: n }, (_, at) => verify({ key: { ...forger, kid: `x${at}` } })));
  expect(new Set(await flood(200))).toEqual(new Set(['unauthenticated']));
  expect(issuer.fetches).toBe(2);
  await flood(50);
  expect(issuer.fetches).toBe(2);
  clock.advance(COOLDOWN_MS);
  await flood(50);
  expect(issuer.fetches).toBe(3);
});

it('known keys wait for no fetch of an unknown one', async () => {
  await keys.start();
  clock.advance(COOLDOWN_MS);
  issuer.mood = 'hanging';
  const asked = issuer.nextFetch();
  const unknown = verify({ key: await makeKey('unknown') });
  await asked;
  expect(await verify()).toBe('believed');
  keys.close();
  expect(await unknown).toBe('unauthenticated');
});

it('forgets a withdrawn key at the next refresh, with no token needed for it', async () => {
  await keys.start();
  await issuer.addKey('second');
  issuer.keys.shift();
  expect(await verify({ key: first })).toBe('believed');
  await passToFetch(REFRESH_MS);
  expect(await verify({ key: first })).toBe('unauthenticated');
  expect(await verify()).toBe('believed');
});

it.each(['failing', 'redirecting', 'babbling', 'endless'] as const)(
  'keeps the last good keys while the issuer is %s, says so, and comes back by itself',
  async (mood) => {
    await keys.start();
    issuer.mood = mood;
    await passToFetch(REFRESH_MS);
    expect(await verify()).toBe('believed');
    expect(keys.status()).toMatchObject({ ok: true, detail: expect.stringContaining('the last good keys are used') });
    issuer.mood = 'well';
    await passToFetch(RETRY_MS);
    expect(keys.status().detail).not.toContain('fails');
  },
);

it('is not ready, and asks to try again, where there never were keys', async () => {
  issuer.mood = 'failing';
  await keys.start();
  expect(keys.status()).toMatchObject({ ok: false, detail: expect.stringContaining('503') });
  const token = await issuer.token({ nowMs: clock.now() });
  await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'store_unavailable', retryAfterMs: RETRY_MS });
  expect(issuer.fetches).toBe(1);
  issuer.mood = 'well';
  await passToFetch(RETRY_MS);
  expect(await verify()).toBe('believed');
});

it('gives up on an issuer that never answers', async () => {
  create({ timeoutMs: 50 });
  issuer.mood = 'hanging';
  await keys.start();
  expect(keys.status()).toMatchObject({ ok: false, detail: expect.stringMatching(/timeout|aborted/i) });
});

it('is silent after its end', async () => {
  await keys.start();
  keys.close();
  expect(clock.pending).toBe(0);
});
