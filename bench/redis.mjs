/** A Redis of the bench's own: on a free port, in a folder that is thrown away, ended with it. */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Rejects where there is no `redis-server`. Writes its append-only file once a second, as it would be deployed. */
export async function startRedis(dir) {
  mkdirSync(dir, { recursive: true });
  const port = await freePort();
  const settings = { port, bind: '127.0.0.1', dir, save: '', appendonly: 'yes', 'maxmemory-policy': 'noeviction' };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const server = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = new Promise((resolve) => server.once('close', resolve));
  await new Promise((resolve, reject) => {
    server.once('error', () => reject(new Error('redis-server is missing; run: apt-get install redis-server')));
    createInterface({ input: server.stdout }).on('line', (line) => {
      if (line.includes('Ready to accept connections')) resolve();
    });
    void gone.then(() => reject(new Error('redis-server ended before it was ready')));
  });
  const client = new Redis({ port, host: '127.0.0.1' });
  const numbersOf = async (section) => {
    const lines = (await client.info(section)).matchAll(/^(\w+):([\d.]+)\r?$/gm);
    return Object.fromEntries(Array.from(lines, ([, name, value]) => [name, Number(value)]));
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    async cpuUs() {
      const { used_cpu_user: user, used_cpu_sys: system } = await numbersOf('cpu');
      return (user + system) * 1e6;
    },
    memory: async () => (await numbersOf('memory')).used_memory,
    /** How often each command was called until now, by its name. */
    async calls() {
      const lines = (await client.info('commandstats')).matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm);
      return Object.fromEntries(Array.from(lines, ([, name, count]) => [name, Number(count)]));
    },
    async stop() {
      client.disconnect();
      server.kill('SIGTERM');
      await gone;
    },
  };
}
