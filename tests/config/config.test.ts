import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { refuseRedisUrl } from '../../server/adapters/redis/redis-url.js';
import {
  type Config,
  ConfigError,
  type ConfigSource,
  describeMistakes,
  parseConfig,
} from '../../server/config/index.js';

type Env = ConfigSource['env'];
const FILE = './midstream.config.json';

const readNothing = (path: string): never => {
  throw Object.assign(new Error(`no such file: ${path}`), { code: 'ENOENT' });
};

function parse(file?: unknown, env: Env = {}, more: Partial<ConfigSource> = {}): Config {
  const text = typeof file === 'string' ? file : JSON.stringify(file);
  return parseConfig({ env, readFile: file === undefined ? readNothing : () => text, ...more });
}

/** The mistakes, `path: message`. */
function mistakesOf(file?: unknown, env?: Env, more?: Partial<ConfigSource>): string[] {
  try {
    parse(file, env, more);
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
}

const TOOL = {
  name: 'search_filings',
  description: 'Searches filings.',
  input_schema: { type: 'object' },
  http: { url: 'http://127.0.0.1:9000/search' },
};
const ADMIN = { tools: { allow: ['*'] }, models: ['*'], approve: ['*'] };

describe('parseConfig', () => {
  it('needs nothing', () => {
    expect(parse()).toEqual({
      listen: { host: '127.0.0.1', port: 8080 },
      anthropic: { apiKey: undefined, baseUrl: undefined },
      model: 'claude-sonnet-5-5',
      scriptPath: undefined,
      dataDir: './.midstream',
      leases: { leaseMs: 10_000, renewMs: 3_000 },
      fsync: 'group',
      drainMs: 10_000,
      auth: { mode: 'dev', remote: false, jwt: undefined, apiKeys: [] },
      origins: [],
      trustedProxies: [],
      logLevel: 'info',
      agents: {
        default: {
          model: 'claude-sonnet-5-5',
          system: undefined,
          tools: ['*'],
          max_tokens: 4096,
          max_steps: 20,
          deadline_ms: 300_000,
        },
      },
      tools: [],
      clientTools: undefined,
      roles: undefined,
      limits: expect.objectContaining({ frame_bytes: 1_048_576, silence_timeout_ms: 60_000 }),
      retention: {},
      prices: {},
    });
  });

  it('takes every variable, and empty ones for unset', () => {
    const config = parse(undefined, {
      PORT: '0',
      HOST: '::1',
      ANTHROPIC_API_KEY: 'sk-1',
      ANTHROPIC_BASE_URL: 'http://127.0.0.1:1',
      MIDSTREAM_MODEL: 'claude-haiku-5-5',
      MIDSTREAM_DATA_DIR: '/data',
      MIDSTREAM_FSYNC: 'off',
      MIDSTREAM_SCRIPT: 'script.json',
      MIDSTREAM_DRAIN_MS: '0',
      MIDSTREAM_ORIGINS: 'https://a.example, http://b.example:3000/',
      MIDSTREAM_TRUSTED_PROXIES: '10.0.0.0/8,::1',
      MIDSTREAM_LOG_LEVEL: 'debug',
      REDIS_URL: '',
      MIDSTREAM_AUTH: '',
    });
    expect(config).toMatchObject({
      listen: { port: 0, host: '::1' },
      anthropic: { baseUrl: 'http://127.0.0.1:1' },
      dataDir: '/data',
      fsync: 'off',
      scriptPath: 'script.json',
      drainMs: 0,
      origins: ['https://a.example', 'http://b.example:3000'],
      trustedProxies: ['10.0.0.0/8', '::1'],
      logLevel: 'debug',
      agents: { default: { model: 'claude-haiku-5-5' } },
    });
    expect(config.anthropic.apiKey?.reveal()).toBe('sk-1');
  });

  it('takes the example of the protocol, apart from what this version lacks', () => {
    const page = readFileSync(join(__dirname, '../../docs/PROTOCOL.md'), 'utf8');
    const text = /```jsonc\n([\s\S]*?)```/.exec(page)?.[1]?.replace('"model": "…", ', '');
    expect(mistakesOf(text, { FILINGS_KEY: 'k' })).toEqual([
      'api_keys[0].sha256: must be a SHA-256 in lower-case hex',
      // "send_*" of the example is the tool of another server.
      expect.stringContaining('roles.analyst.tools.ask[0]: "send_*" matches no tool'),
    ]);
  });

  it('keeps what stands in the file under its own names, with defaults', () => {
    const config = parse({
      agents: { writer: { system: 'Write.', tools: ['search_*'] } },
      tools: [TOOL],
      roles: { admin: { tools: { ask: ['search_filings'] }, models: ['claude-*'] } },
      retention: { session_days: 30 },
      limits: { queued_turns: 3 },
      prices: { 'my-model': { input: 1, output: 2 } },
    });
    expect(config.agents).toMatchObject({
      default: { tools: ['*'] },
      writer: { model: 'claude-sonnet-5-5', system: 'Write.', tools: ['search_*'], max_steps: 20 },
    });
    expect(config.tools[0]).toMatchObject({
      label: undefined,
      idempotent: false,
      http: { headers: {}, timeout_ms: 10_000 },
    });
    expect(config.roles?.['admin']).toEqual({
      tools: { allow: [], ask: ['search_filings'], deny: [], input: {} },
      models: ['claude-*'],
      approve: [],
      inspect: false,
    });
    expect(config.retention).toEqual({ session_days: 30 });
    expect(config.limits).toMatchObject({ queued_turns: 3, json_depth: 64 });
  });

  it('reads the file that MIDSTREAM_CONFIG names', () => {
    const asked: string[] = [];
    const readFile = (path: string): string => {
      asked.push(path);
      return '{}';
    };
    parseConfig({ env: { MIDSTREAM_CONFIG: '/etc/m.json' }, readFile });
    parseConfig({ env: {}, readFile });
    expect(asked).toEqual(['/etc/m.json', FILE]);
  });

  it('refuses a named file that is not there, and one that cannot be read', () => {
    expect(mistakesOf(undefined, { MIDSTREAM_CONFIG: 'x.json' })).toEqual([
      'MIDSTREAM_CONFIG: there is no file x.json',
    ]);
    const readFile = (): never => {
      throw Object.assign(new Error(), { code: 'EACCES' });
    };
    expect(mistakesOf(undefined, {}, { readFile })).toEqual([`MIDSTREAM_CONFIG: ${FILE} can't be read (EACCES)`]);
  });
});

describe('prices', () => {
  const price = { input: 1, output: 2 };

  it('of a model are one, or a list by the time from which they apply', () => {
    const prices = {
      one: { ...price, from: '2027-01-01', long_context: { over_tokens: 1, ...price } },
      many: [price, { ...price, from: '2026-12-31' }, { ...price, from: '2027-01-01T00:00:00+01:00' }],
    };
    expect(parse({ prices }).prices).toEqual(prices);
  });

  it.each<[string, unknown, string[]]>([
    [
      'an unknown key',
      { ...price, cache_raed: 1 },
      ['prices.m.cache_raed: there is no such key. Did you mean "cache_read"?'],
    ],
    [
      'an unknown key in a list',
      [{ ...price, form: '2026-01-01' }],
      ['prices.m[0].form: there is no such key. Did you mean "from"?'],
    ],
    [
      'an unknown key of the long context',
      { ...price, long_context: { ...price, over_tokens: 1, over: 2 } },
      ['prices.m.long_context.over: there is no such key.'],
    ],
    [
      'what is missing',
      [{ input: 1 }, { output: 1, from: '2026-01-01' }],
      ['prices.m[0].output: is missing', 'prices.m[1].input: is missing'],
    ],
    [
      'what is out of bounds',
      { input: -1, output: 'two', cache_write: null },
      [
        'prices.m.input: too small: expected number to be >=0',
        'prices.m.output: expected number, received string',
        'prices.m.cache_write: expected number, received null',
      ],
    ],
    [
      'what is no date',
      [price, { ...price, from: '2026-02-30' }, { ...price, from: 7 }],
      [1, 2].map((at) => `prices.m[${at}].from: must be a date as 2026-01-31, or a moment of RFC 3339`),
    ],
    [
      'dates out of order',
      [{ ...price, from: '2026-03-01' }, { ...price, from: '2026-03-01T00:00:00Z' }, price],
      [
        'prices.m[1].from: must be later than that of the price before',
        'prices.m[2].from: is missing: only the first price may be without',
      ],
    ],
    ['an empty list', [], ['prices.m: too small: expected array to have >=1 items']],
    ['what is no price', 'free', ['prices.m: must be a price, or a list of prices']],
  ])('tell %s where it is', (_what, m, mistakes) => {
    expect(mistakesOf({ prices: { m } })).toEqual(mistakes);
  });
});

describe('mistakes', () => {
  it('are all reported at once, those of the environment and of the file, and those between keys', () => {
    const mistakes = mistakesOf(
      {
        agents: { default: { max_tokens: 0, tool: [] }, other: { tools: ['serach_filings'] } },
        tools: [{ ...TOOL, http: { url: 'ftp://x', headers: { Authorization: 'Bearer $' + '{env:NO_KEY}' } } }, TOOL],
        client_tools: ['edit_*'],
        limit: {},
        limits: { frame_bytes: 9_000_000, json_depth: '64' },
      },
      { PORT: '80a', HOST: '0.0.0.0', MIDSTREAM_LOG_LEVEL: 'loud', MIDSTREAM_MODLE: 'x', REDIS_URL: 'http://h' },
      { refuseRedisUrl },
    );
    expect(mistakes).toEqual([
      'PORT: must be a whole number from 0 to 65535',
      'MIDSTREAM_LOG_LEVEL: expected one of "silent"|"error"|"warn"|"info"|"debug"',
      'MIDSTREAM_MODLE: there is no such setting. Did you mean "MIDSTREAM_MODEL"?',
      expect.stringContaining('HOST: "0.0.0.0" can be reached by others'),
      expect.stringContaining('agents.default.max_tokens: too small'),
      'agents.default.tool: there is no such key. Did you mean "tools"?',
      'tools[0].http.url: must be an http or https URL',
      'limits.json_depth: expected number, received string',
      'limit: there is no such key. Did you mean "limits"?',
      'tools[0].http.headers.Authorization: the environment variable NO_KEY is not set',
      'tools[1].name: "search_filings" is there twice',
      'agents.other.tools[0]: "serach_filings" matches no tool and no pattern of client_tools. Did you mean "search_filings"?',
      'limits.frame_bytes: must be at most limits.frame_bytes_with_images (8388608)',
      expect.stringContaining('REDIS_URL: is not of the form redis://'),
    ]);
  });

  it('print as one line each', () => {
    const error = new ConfigError([
      { path: 'PORT', message: 'must be a whole number' },
      { path: 'agents.default.model', message: 'is missing' },
    ]);
    expect(describeMistakes(error)).toBe(
      'The configuration has 2 mistakes.\n  PORT: must be a whole number\n  agents.default.model: is missing',
    );
    expect(new ConfigError([{ path: 'a', message: 'b' }]).message).toBe('The configuration has a mistake.');
  });

  it.each([
    [
      '{\n  "agents": {\n    "default": { "max_tokens": 1, }\n  }\n}',
      'line 3, column 35: expected a name in double quotes, found "}"',
    ],
    ['{ "a": 1\n  "b": 2 }', 'line 2, column 3: expected "," or "}", found """'],
    ['{ "a" 1 }', 'line 1, column 7: expected ":", found "1"'],
    ['{ "a": [1, 2 }', 'line 1, column 14: expected "," or "]", found "}"'],
    ['{ "a": 01 }', 'line 1, column 8: expected a value, found "0"'],
    ["{ 'a': 1 }", `line 1, column 3: expected a name in double quotes, found "'"`],
    ['{\n // note\n "a": 1 }', 'line 2, column 2: expected a name in double quotes, found "/" (JSON has no comments)'],
    ['{ "a": "x\ny" }', 'line 1, column 8: a string that is not closed, or holds a line break or a wrong escape'],
    ['{ "a": "\\x" }', 'line 1, column 8: a string that is not closed, or holds a line break or a wrong escape'],
    ['{ "a": 1', 'line 1, column 9: expected "," or "}", found the end of the file'],
    ['', 'line 1, column 1: expected a value, found the end of the file'],
    ['{} {}', 'line 1, column 4: expected the end of the file, found "{"'],
    ['{ "a": nul }', 'line 1, column 8: expected a value, found "n"'],
  ])('name the line of broken JSON: %j', (text, message) => {
    expect(mistakesOf(text)).toEqual([`${FILE}: is not JSON: ${message}`]);
  });

  it('are found in any file that is not an object', () => {
    for (const text of ['[]', '1', 'null', '"x"']) {
      expect(mistakesOf(text)).toEqual([`${FILE}: must hold a JSON object`]);
    }
  });

  it.each<[string, unknown, string]>([
    ['a section of another kind', { agents: [] }, 'agents: expected record, received array'],
    ['an entry of another kind', { agents: { a: 1 } }, 'agents.a: expected object, received number'],
    ['a missing field', { tools: [{ ...TOOL, http: {} }] }, 'tools[0].http.url: is missing'],
    ['a bad tool name', { tools: [{ ...TOOL, name: 'a b' }] }, 'tools[0].name: must be 1–64 of A-Z a-z 0-9 _ -'],
    [
      'an input schema that is none of an object',
      { tools: [{ ...TOOL, input_schema: { type: 'string' } }] },
      'tools[0].input_schema.type: must be "object": the input of a tool is a JSON object',
    ],
    [
      'properties that are no schemas',
      { tools: [{ ...TOOL, input_schema: { type: 'object', properties: { a: 'string' } } }] },
      'tools[0].input_schema.properties.a: must be a JSON Schema',
    ],
    [
      'credentials in a URL',
      { tools: [{ ...TOOL, http: { url: 'http://u:p@h/' } }] },
      'tools[0].http.url: must not hold a user or password; use headers',
    ],
    [
      'a header that is set by the server',
      { tools: [{ ...TOOL, http: { ...TOOL.http, headers: { 'Content-Type': 'x' } } }] },
      'tools[0].http.headers.Content-Type: is a header that the server sets itself',
    ],
    [
      'a header with a line break',
      { tools: [{ ...TOOL, http: { ...TOOL.http, headers: { A: 'x\r\nB: y' } } }] },
      'tools[0].http.headers.A: must be text that fits into a header',
    ],
    [
      'an unknown key deep down',
      { roles: { admin: { ...ADMIN, tools: { alow: [] } } } },
      'roles.admin.tools.alow: there is no such key. Did you mean "allow"?',
    ],
    ['a key that resembles none', { zebra: 1 }, 'zebra: there is no such key.'],
    [
      'events that outlive sessions',
      { retention: { session_days: 1, event_days: 2 } },
      'retention.event_days: must be at most retention.session_days (1)',
    ],
  ])('name the place: %s', (_, file, mistake) => {
    expect(mistakesOf(file)).toEqual([mistake]);
  });

  it.each<[Env, string]>([
    [{ PORT: '65536' }, 'PORT'],
    [{ PORT: '-1' }, 'PORT'],
    [{ ANTHROPIC_BASE_URL: 'localhost:1' }, 'ANTHROPIC_BASE_URL'],
    [{ ANTHROPIC_API_KEY: 'a b' }, 'ANTHROPIC_API_KEY'],
    [{ MIDSTREAM_ORIGINS: 'https://a.example/path' }, 'MIDSTREAM_ORIGINS'],
    [{ MIDSTREAM_ORIGINS: '*' }, 'MIDSTREAM_ORIGINS'],
    [{ MIDSTREAM_TRUSTED_PROXIES: '10.0.0.0/33' }, 'MIDSTREAM_TRUSTED_PROXIES'],
    [{ MIDSTREAM_TRUSTED_PROXIES: 'proxy' }, 'MIDSTREAM_TRUSTED_PROXIES'],
    [{ MIDSTREAM_FSYNC: 'yes' }, 'MIDSTREAM_FSYNC'],
    [{ MIDSTREAM_DRAIN_MS: '1e3' }, 'MIDSTREAM_DRAIN_MS'],
    [{ MIDSTREAM_DEV_REMOTE: 'true' }, 'MIDSTREAM_DEV_REMOTE'],
  ])('are found in the environment: %j', (env, path) => {
    expect(mistakesOf(undefined, env)).toEqual([expect.stringMatching(`^${path}: `)]);
  });

  it('are not seen in what Kubernetes adds for a service named midstream', () => {
    const env = { MIDSTREAM_PORT: 'tcp://10.0.0.1:80', MIDSTREAM_PORT_80_TCP: 'x', MIDSTREAM_SERVICE_HOST: '10.0.0.1' };
    expect(mistakesOf(undefined, env)).toEqual([]);
  });

  it('never show a secret', () => {
    const file = { tools: [{ ...TOOL, http: { ...TOOL.http, headers: { A: '$' + '{env:KEY}' } } }] };
    const shown = mistakesOf(
      file,
      {
        KEY: 'hush\nhush',
        ANTHROPIC_API_KEY: 'hush hush',
        MIDSTREAM_JWT_SECRET: 'hush',
        REDIS_URL: 'redis://:hush@h:x',
      },
      { refuseRedisUrl },
    ).join('\n');
    expect(shown).toContain('ANTHROPIC_API_KEY');
    expect(shown).toContain('REDIS_URL');
    expect(shown).toContain('tools[0].http.headers.A');
    expect(shown).not.toContain('hush');
  });
});

describe('secrets', () => {
  const config = parse(
    { tools: [{ ...TOOL, http: { ...TOOL.http, headers: { Authorization: 'Bearer $' + '{env:KEY}' } } }] },
    { ANTHROPIC_API_KEY: 'hush', KEY: 'hush' },
  );

  it('are there for who asks', () => {
    expect(config.tools[0]?.http.headers['Authorization']?.reveal()).toBe('Bearer hush');
  });

  it.each([
    ['JSON', JSON.stringify(config)],
    ['the inspector', inspect(config, { depth: 9, showHidden: true })],
    ['text', `${config.anthropic.apiKey} ${config.tools[0]?.http.headers['Authorization']}`],
  ])('print as [secret] in %s', (_, printed) => {
    expect(printed).not.toContain('hush');
    expect(printed.match(/\[secret\]/g)).toHaveLength(2);
  });
});

describe('names that refer to each other', () => {
  const clientTools = { client_tools: ['edit_*'], tools: [TOOL] };

  it.each(['*', 'search_filings', 'search_*', '*_filings', 'edit_document', 'edit_*', 'e*', '*_doc*'])(
    'are taken where they can match: %s',
    (pattern) => {
      const roles = { admin: { ...ADMIN, tools: { deny: [pattern] } } };
      expect(mistakesOf({ ...clientTools, agents: { a: { tools: [pattern] } }, roles })).toEqual([]);
    },
  );

  it.each(['search', 'search_x*', 'send_*', 'edi', '*_x'])('are refused where they cannot: %s', (pattern) => {
    const file = { ...clientTools, client_tools: ['edit_doc', 'edit_page'] };
    const roles = { admin: { ...ADMIN, tools: { allow: ['*'], ask: [pattern], deny: [pattern] }, approve: [pattern] } };
    const paths = mistakesOf({ ...file, agents: { a: { tools: ['*', pattern] } }, roles }).map((m) => m.split(':')[0]);
    expect(paths).toEqual([
      'agents.a.tools[1]',
      'roles.admin.tools.ask[0]',
      'roles.admin.tools.deny[0]',
      'roles.admin.approve[0]',
    ]);
  });

  it('may be any in dev without client_tools, for clients may register any', () => {
    expect(mistakesOf({ agents: { a: { tools: ['edit_x'] } } })).toEqual([]);
  });

  it('may be those of the program’s own tools, which no tool of the file may take', () => {
    const own = { ownTools: ['get_time'] };
    const file = { client_tools: [], agents: { a: { tools: ['get_time'] } } };
    expect(mistakesOf(file)).toHaveLength(1);
    expect(mistakesOf(file, {}, own)).toEqual([]);
    expect(mistakesOf({ tools: [{ ...TOOL, name: 'get_time' }] }, {}, own)).toEqual([
      'tools[0].name: "get_time" is there twice',
    ]);
  });

  it('must be tools where an input is constrained', () => {
    const roles = { admin: { ...ADMIN, tools: { allow: ['*'], input: { search: { type: 'object' } } } } };
    expect(mistakesOf({ ...clientTools, roles })).toEqual([
      expect.stringContaining('roles.admin.tools.input.search: "search" matches no tool'),
    ]);
  });

  it('include models: an agent whose model no role may use could never run', () => {
    const roles = { admin: { ...ADMIN, models: ['claude-haiku-*'] } };
    expect(mistakesOf({ roles, agents: { a: { model: 'claude-haiku-5-5' } } })).toEqual([
      expect.stringContaining('MIDSTREAM_MODEL: no role may use "claude-sonnet-5-5"'),
    ]);
    expect(mistakesOf({ roles, agents: { default: { model: 'claude-opus-5' } } })).toEqual([
      expect.stringContaining('agents.default.model: no role may use "claude-opus-5"'),
    ]);
    expect(mistakesOf({ roles }, { MIDSTREAM_MODEL: 'claude-haiku-5-5' })).toEqual([]);
  });

  it('include the role that everybody has in dev', () => {
    expect(mistakesOf({ roles: { analyst: ADMIN } })).toEqual([expect.stringContaining('roles: has no "admin"')]);
  });

  it('asks the given validator about every schema', () => {
    const refuseSchema = (schema: Readonly<Record<string, unknown>>) => (schema['bad'] ? 'is bad' : undefined);
    const file = {
      tools: [TOOL, { ...TOOL, name: 'b', input_schema: { type: 'object', bad: true } }],
      roles: { admin: { ...ADMIN, tools: { allow: ['*'], input: { b: { bad: true } } } } },
    };
    expect(mistakesOf(file, {}, { refuseSchema })).toEqual([
      'tools[1].input_schema: is bad',
      'roles.admin.tools.input.b: is bad',
    ]);
  });
});

it('refuses leases that one late renewal would end', () => {
  expect(mistakesOf(undefined, { MIDSTREAM_LEASE_MS: '4000', MIDSTREAM_LEASE_RENEW_MS: '2001' })).toEqual([
    'MIDSTREAM_LEASE_RENEW_MS: is more than half of MIDSTREAM_LEASE_MS, which is 4000',
  ]);
  expect(parse(undefined, { MIDSTREAM_LEASE_MS: '4000' }).leases).toEqual({ leaseMs: 4_000, renewMs: 1_200 });
});

it('refuses a short secret', () => {
  expect(mistakesOf(undefined, { MIDSTREAM_JWT_SECRET: 'short' })).toContain(
    'MIDSTREAM_JWT_SECRET: must have at least 32 bytes',
  );
});

describe('dev', () => {
  it.each(['127.0.0.1', '127.1.2.3', 'localhost', '::1'])('listens on %s', (HOST) => {
    expect(parse(undefined, { HOST }).auth).toMatchObject({ mode: 'dev', remote: false });
  });

  it.each(['0.0.0.0', '::', '192.168.1.1', '127.0.0.1.example.com', 'localhost.example.com'])('refuses %s', (HOST) => {
    expect(mistakesOf(undefined, { HOST })).toEqual([expect.stringContaining('MIDSTREAM_DEV_REMOTE=1')]);
    expect(mistakesOf(undefined, { HOST, MIDSTREAM_DEV_REMOTE: '0' })).toHaveLength(1);
    expect(parse(undefined, { HOST, MIDSTREAM_DEV_REMOTE: '1' }).auth).toMatchObject({ mode: 'dev', remote: true });
  });
});

describe('credentials', () => {
  const JWT = { MIDSTREAM_JWT_ISSUER: 'https://issuer', MIDSTREAM_JWT_AUDIENCE: 'midstream' };
  const SECRET = { MIDSTREAM_JWT_SECRET: 'x'.repeat(32) };
  const KEY = { id: 'ci', sha256: 'a'.repeat(64), user_id: 'u', org_id: 'o', roles: ['admin'] };
  const readFile = (text: string) => ({ readFile: (path: string) => (path === 'jwks.json' ? text : '{}') });
  const keySet = (...keys: unknown[]) => readFile(JSON.stringify({ keys }));
  const FILE = { MIDSTREAM_JWKS_FILE: 'jwks.json', ...JWT };

  it('are asked for where there are any, on every host', () => {
    const HOST = '0.0.0.0';
    expect(parse(undefined, { ...JWT, ...SECRET, HOST }).auth).toMatchObject({ mode: 'required', remote: false });
    expect(parse({ api_keys: [KEY] }, { HOST }).auth).toMatchObject({ mode: 'required', apiKeys: [KEY] });
    expect(parse({ api_keys: [KEY] }, { MIDSTREAM_AUTH: 'dev' }).auth).toMatchObject({ mode: 'dev' });
    expect(mistakesOf({ api_keys: [KEY] }, { MIDSTREAM_AUTH: 'dev', HOST })).toHaveLength(1);
  });

  it('come with the claims that carry roles and organisation; who names the latter means it', () => {
    expect(parse(undefined, { ...JWT, ...SECRET }).auth.jwt).toMatchObject({
      keys: { kind: 'secret' },
      issuer: 'https://issuer',
      audience: 'midstream',
      rolesClaim: 'roles',
      orgClaim: 'org',
      defaultOrg: 'default',
    });
    const named = parse(undefined, { ...JWT, ...SECRET, MIDSTREAM_JWT_ORG_CLAIM: 'org' });
    expect(named.auth.jwt).toMatchObject({ orgClaim: 'org', defaultOrg: undefined });
  });

  it.each<[string, Env, string]>([
    ['nothing to verify with', { MIDSTREAM_AUTH: 'required' }, 'MIDSTREAM_AUTH: required lets nobody in'],
    ['two sources', { ...JWT, ...SECRET, MIDSTREAM_JWKS_URL: 'https://h/jwks' }, 'MIDSTREAM_JWT_SECRET: .* not both'],
    ['no issuer', { ...SECRET, MIDSTREAM_JWT_AUDIENCE: 'x' }, 'MIDSTREAM_JWT_ISSUER: is needed'],
    ['no audience', { ...SECRET, MIDSTREAM_JWT_ISSUER: 'x' }, 'MIDSTREAM_JWT_AUDIENCE: is needed'],
    ['an issuer alone', { MIDSTREAM_JWT_ISSUER: 'x' }, 'MIDSTREAM_JWT_ISSUER: does nothing'],
    ['plain http', { ...JWT, MIDSTREAM_JWKS_URL: 'http://issuer.example/jwks' }, 'MIDSTREAM_JWKS_URL: must be https'],
  ])('are refused with %s', (_, env, message) => {
    expect(mistakesOf(undefined, env)).toEqual([expect.stringMatching(`^${message}`)]);
  });

  it.each([
    ['no JSON', readFile('{'), 'is not JSON'],
    ['no set', readFile('[]'), 'must be a JSON Web Key Set'],
    ['no key', keySet(), 'must be a JSON Web Key Set'],
    ['a secret', keySet({ kty: 'oct', k: 'hush' }), 'holds a secret'],
    ['a private key', keySet({ kty: 'RSA', n: 'x', e: 'y', d: 'hush' }), 'holds a private key'],
  ])('are refused from a file with %s', (_, more, message) => {
    const mistakes = mistakesOf(undefined, FILE, more);
    expect(mistakes).toEqual([expect.stringContaining(`MIDSTREAM_JWKS_FILE: jwks.json ${message}`)]);
    expect(mistakes.join()).not.toContain('hush');
  });

  it('may be fetched over http from this machine', () => {
    const env = { ...JWT, MIDSTREAM_JWKS_URL: 'http://127.0.0.1:1/jwks' };
    expect(parse(undefined, env).auth.jwt?.keys).toEqual({ kind: 'url', url: 'http://127.0.0.1:1/jwks' });
  });

  it('name each key once, with roles that exist', () => {
    expect(mistakesOf({ api_keys: [KEY, { ...KEY, roles: ['analyst'] }] })).toEqual([
      'api_keys[1].id: is there twice',
      'api_keys[1].sha256: is there twice',
      'api_keys[1].roles[0]: there is no role "analyst"',
    ]);
  });

  it.each(['id', 'user_id', 'org_id'])('name in %s whole characters, none of control', (field) => {
    for (const name of ['ad\ud800a', '\udc00', 'a\nb'])
      expect(mistakesOf({ api_keys: [{ ...KEY, [field]: name }] })).toEqual([
        expect.stringContaining(`api_keys[0].${field}: must not hold control characters, or half a character`),
      ]);
    expect(mistakesOf({ api_keys: [{ ...KEY, [field]: 'Zoë \u{1f600}' }] })).toEqual([]);
  });
});
