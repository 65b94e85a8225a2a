/** API keys: which are believed, what is told apart, and how new ones are made. */
import { createHash } from 'node:crypto';
import {
  createApiKeyVerifier,
  createCredentialVerifier,
  KEY_PREFIX,
  mintKey,
} from '../../server/adapters/api-keys/index.js';
import { runCommand } from '../../server/cli/index.js';
import { parseConfig } from '../../server/config/index.js';
import type { TokenVerifier } from '../../server/ports/token-verifier.js';

const hash = (key: string): string => createHash('sha256').update(key).digest('hex');
const entry = (id: string, key: string) => ({
  id,
  sha256: hash(key),
  user_id: `${id}-bot`,
  org_id: 'acme',
  roles: ['analyst'],
});
const refused = { code: 'unauthenticated' };

describe('an API key', () => {
  const verifier = createApiKeyVerifier([entry('a', 'key of a'), entry('b', 'key of b')]);

  it('names its principal, with the id of the key', async () => {
    expect(await verifier.verify('key of b')).toEqual({
      principal: { user_id: 'b-bot', org_id: 'acme', roles: ['analyst'], key_id: 'b' },
      expiresAt: undefined,
      credentialId: 'b',
    });
  });

  it.each(['', 'key of c', 'key of a ', 'Key of a', hash('key of a'), 'x'.repeat(1e6), '\0'])(
    'is refused: %.20s',
    async (key) => {
      await expect(verifier.verify(key)).rejects.toMatchObject(refused);
    },
  );

  it('is refused where there is none, an empty one hashed in the list or not', async () => {
    const careless = createApiKeyVerifier([entry('none', '')]);
    await expect(careless.verify(undefined)).rejects.toMatchObject(refused);
  });

  it('is compared with every entry, wherever it is found', async () => {
    const many = Array.from({ length: 2_000 }, (_, n) => entry(`k${n}`, `key ${n}`));
    const big = createApiKeyVerifier(many);
    for (const n of [0, 1_000, 1_999]) expect((await big.verify(`key ${n}`)).credentialId).toBe(`k${n}`);
  });
});

describe('which credential it is', () => {
  const saying = (id: string): TokenVerifier => ({
    required: true,
    verify: async () => ({ principal: { user_id: id, org_id: 'o', roles: [] }, expiresAt: undefined }),
  });
  const both = createCredentialVerifier({ token: saying('token'), apiKey: saying('key') });
  const asked = async (credential: string): Promise<string> => (await both.verify(credential)).principal.user_id;

  it('is told by its form', async () => {
    expect(await asked('eyJh.eyJz.c2ln')).toBe('token');
    expect(await asked('eyJh.eyJz.')).toBe('token');
    expect(await asked(mintKey().key)).toBe('key');
    expect(await asked('a key of an operator')).toBe('key');
    expect(await asked('with.dot')).toBe('key');
    expect(await asked('sk-ms-a.b.c')).toBe('key');
  });

  it('is refused where its kind is not configured, or there is none', async () => {
    const none = createCredentialVerifier({ token: undefined, apiKey: undefined });
    for (const credential of ['a.b.c', 'key', undefined])
      await expect(none.verify(credential)).rejects.toMatchObject(refused);
  });
});

describe('midstream keys create', () => {
  function run(...args: string[]) {
    let [out, err] = ['', ''];
    const code = runCommand(args, {
      stdout: (text) => {
        out += text;
      },
      stderr: (text) => {
        err += text;
      },
    });
    return { code, out, err };
  }

  it('prints a new key once, and the line for the configuration, by which it is believed', async () => {
    const { code, out } = run(
      'keys',
      'create',
      '--id',
      'ci',
      '--user',
      'bot',
      '--org',
      'acme',
      '--roles',
      'admin, admin2',
    );
    expect(code).toBe(0);
    const [key = '', line = ''] = out.trimEnd().split('\n');
    expect(key).toMatch(/^sk-ms-[\w-]{43}$/);
    expect(line).not.toContain(key);
    const api_keys = [JSON.parse(line)];
    const made = { created_at: expect.stringMatching(/^20\d\d-.*\.\d{3}Z$/) };
    expect(api_keys).toEqual([
      { id: 'ci', sha256: hash(key), user_id: 'bot', org_id: 'acme', roles: ['admin', 'admin2'], ...made },
    ]);
    const roles = { admin: { models: ['*'] }, admin2: {} };
    const { auth } = parseConfig({ env: {}, readFile: () => JSON.stringify({ api_keys, roles }) });
    expect(auth.mode).toBe('required');
    expect((await createApiKeyVerifier(auth.apiKeys).verify(key)).principal).toMatchObject({
      key_id: 'ci',
      user_id: 'bot',
    });
  });

  it('makes another one each time, without a name and without rights where none are given', () => {
    const [one, two] = [run('keys', 'create'), run('keys', 'create')];
    expect(one.out).not.toBe(two.out);
    expect(JSON.parse(one.out.split('\n')[1] ?? '')).toMatchObject({ org_id: 'default', roles: [] });
    expect(one.err).toContain('--roles');
    expect(one.out.startsWith(KEY_PREFIX)).toBe(true);
  });

  it.each([
    [['keys']],
    [['keys', 'delete']],
    [['keys', 'create', '--rolez', 'a']],
    [['keys', 'create', 'ci']],
    [['keys', 'create', '--id', '']],
    [['serve']],
  ])('refuses what it does not know: %j', (args) => {
    const { code, out, err } = run(...args);
    expect([code, out]).toEqual([64, '']);
    expect(err).toContain('Usage');
  });

  it('leaves the server to start where there is no command', () => {
    expect(run().code).toBeUndefined();
    expect(run('--help')).toMatchObject({ code: 0, out: expect.stringContaining('keys create') });
  });
});
