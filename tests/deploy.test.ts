/** What `deploy/` says fits the settings, the image and itself; that it runs, `node scripts/check-deploy.mjs` shows. */
import { readFileSync } from 'node:fs';
import { BlockList } from 'node:net';
import { join } from 'node:path';
import { parse } from 'node:path/posix';
import { ENV_NAMES } from '../server/config/reference.js';
import { parseConfig } from '../server/config/index.js';
import { refuseRedisUrl } from '../server/adapters/redis/index.js';

const { safeLoad: parseYaml } = jest.requireActual<{ safeLoad(text: string): unknown }>('js-yaml');

const ROOT = join(__dirname, '..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

interface Service {
  readonly image?: string;
  readonly build?: { readonly context: string };
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly env_file?: string;
  readonly stop_grace_period?: string;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly volumes?: readonly string[];
  readonly networks?: Readonly<Record<string, { readonly ipv4_address: string }>> | readonly string[];
}

const compose = parseYaml(read('deploy/docker-compose.yml')) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: { readonly inner: { readonly ipam: { readonly config: readonly [{ readonly subnet: string }] } } };
};
const nginx = read('deploy/nginx.conf');
const dockerfile = read('Dockerfile');
const example = read('deploy/.env.example');
const nodes = Object.entries(compose.services).filter(([, { build }]) => build);

it('each node sets variables that are settings, and starts with them once the secrets are there', () => {
  expect(nodes.map(([name]) => name)).toEqual(['node-1', 'node-2']);
  const examples = [...example.matchAll(/^([A-Z_]+)=(.*)$/gm)];
  for (const [, name, value] of examples)
    expect([name, ENV_NAMES.includes(name ?? ''), value]).toEqual([name, true, '']);
  for (const [, { environment = {}, env_file }] of nodes) {
    expect(env_file).toBe('.env');
    expect(Object.keys(environment).filter((name) => !ENV_NAMES.includes(name))).toEqual([]);
    const secrets = {
      ANTHROPIC_API_KEY: 'sk-test',
      MIDSTREAM_JWT_SECRET: 'x'.repeat(32),
      MIDSTREAM_JWT_ISSUER: 'https://issuer.example',
      MIDSTREAM_JWT_AUDIENCE: 'midstream',
    };
    for (const name of Object.keys(secrets)) expect([name, example.includes(`\n${name}=\n`)]).toEqual([name, true]);
    const empty = Object.fromEntries(examples.map(([, name]) => [name, '']));
    const readFile = (): never => {
      throw Object.assign(new Error('none'), { code: 'ENOENT' });
    };
    const start = (env: Record<string, string>) => parseConfig({ env, readFile, ownTools: [], refuseRedisUrl });
    expect(start({ ...empty, ...environment, ...secrets }).listen).toEqual({ host: '0.0.0.0', port: 8_080 });
    // Nobody serves everybody by leaving the example as it is.
    expect(() => start({ ...empty, ...environment })).toThrow(
      expect.objectContaining({ mistakes: [expect.objectContaining({ path: 'MIDSTREAM_AUTH' })] }),
    );
  }
});

it('holds no secret', () => {
  const text = read('deploy/docker-compose.yml') + nginx;
  expect(text).not.toMatch(/(KEY|SECRET|PASSWORD|TOKEN)["']?\s*[:=]\s*\S/i);
});

it('ports, paths and addresses are those of the image, of nginx and of the network', () => {
  const [port] = /^EXPOSE (\d+)$/m.exec(dockerfile)?.slice(1) ?? [];
  const { subnet } = compose.networks.inner.ipam.config[0];
  const [network = '', bits] = subnet.split('/');
  const inner = new BlockList();
  inner.addSubnet(network, Number(bits));
  const upstreams = [...nginx.matchAll(/^\s+server ([\w-]+):(\d+) /gm)].map(([, name, at]) => [name, at]);
  expect(upstreams).toEqual(nodes.map(([name]) => [name, port]));
  for (const [, { environment = {}, volumes = [], networks, healthcheck, build }] of nodes) {
    expect(build?.context).toBe('..');
    expect(environment['PORT']).toBe(port);
    expect(environment['MIDSTREAM_TRUSTED_PROXIES']).toBe(subnet);
    // All that lasts is in Redis.
    expect(volumes).toEqual([]);
    expect(healthcheck?.test.join(' ')).toContain(`http://127.0.0.1:${port}/ready`);
    const { ipv4_address: address = '' } = (networks as Record<string, { ipv4_address: string }>)['inner'] ?? {};
    expect([address, inner.check(address)]).toEqual([address, true]);
  }
  const mounted = compose.services['proxy']?.volumes?.[0]?.split(':')[0] ?? '';
  expect(parse(mounted).base).toBe('nginx.conf');
});

it('[NODE-2] a node has longer to end than its turns have to finish', () => {
  for (const [, { environment = {}, stop_grace_period = '' }] of nodes) {
    const [, seconds] = /^(\d+)s$/.exec(stop_grace_period) ?? [];
    // After the drain the server still closes sockets and gives Redis 3 s.
    expect(Number(seconds) * 1_000).toBeGreaterThanOrEqual(Number(environment['MIDSTREAM_DRAIN_MS']) + 10_000);
  }
});

it('Redis keeps what it is given: appended to disk each second, never evicted', () => {
  const { command = [], volumes } = compose.services['redis'] as Service;
  const settings = Object.fromEntries(
    command.flatMap((one, n) => (one.startsWith('--') ? [[one, command[n + 1]]] : [])),
  );
  expect(settings).toMatchObject({
    '--appendonly': 'yes',
    '--appendfsync': 'everysec',
    '--maxmemory-policy': 'noeviction',
  });
  expect(volumes).toEqual(['redis:/data']);
});
