/**
 * The server as its users see it: one address. Behind it is one process or, where `MIDSTREAM_TEST_NODES` says so, that
 * many on one Redis, with every connection and every request going to the next of them (NODE-1). A suite that uses
 * `startService` or `startTestService` holds for both. Which don't, and why, is in docs/TESTING.md.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTestServer, type TestServerOptions } from '../../server/testing.js';
import { type BlackboxOptions, BlackboxServer, startBlackbox } from './blackbox-server.js';
import { type RedisServer, startRedis } from './redis-server.js';
import { startRoundRobin, type Target } from './round-robin-proxy.js';

export interface Service {
  readonly url: string;
  readonly wsUrl: string;
  /** All of it dies at once, and starts again on what it wrote. The address may be another. */
  restart(): Promise<void>;
  dispose(): Promise<void>;
}

export interface ProcessService extends Service {
  readonly pids: readonly number[];
}

export const NODES = Number(process.env['MIDSTREAM_TEST_NODES'] ?? 1);

/** What makes a process one of several nodes. Where all are restarted, the leases of before are waited for. */
const nodeEnv = (redis: RedisServer) => ({
  REDIS_URL: redis.url,
  MIDSTREAM_LEASE_MS: '5000',
});

const toTarget = ({ url }: { readonly url: string }): Target => {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
};

const toWsUrl = (url: string): string => `${url.replace(/^http/, 'ws')}/v1/ws`;

/** The built server: processes of their own. */
export const startService = (options: BlackboxOptions = {}): Promise<ProcessService> =>
  NODES === 1 ? startBlackbox(options) : startNodes(NODES, options);

export interface Nodes extends ProcessService {
  readonly nodes: readonly BlackboxServer[];
}

/** So many processes on a Redis of their own, behind one address and each under its own. */
export async function startNodes(count: number, options: BlackboxOptions = {}): Promise<Nodes> {
  const redis = await startRedis();
  const nodes = Array.from(
    { length: count },
    () => new BlackboxServer({ ...options, env: { ...options.env, ...nodeEnv(redis) } }),
  );
  const start = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.start()));
  };
  await start();
  const front = await startRoundRobin(() => nodes.map(toTarget));
  return {
    nodes,
    url: front.url,
    wsUrl: toWsUrl(front.url),
    get pids() {
      return nodes.map((node) => node.pid);
    },
    async restart() {
      await Promise.all(nodes.map((node) => node.kill()));
      await start();
    },
    async dispose() {
      await front.close();
      await Promise.all(nodes.map((node) => node.dispose()));
      await redis.dispose();
    },
  };
}

/** The server inside the test, so that its tools are functions of the test. */
export async function startTestService(options: TestServerOptions = {}): Promise<Service> {
  const redis = NODES === 1 ? undefined : await startRedis();
  const dataDirs = Array.from({ length: NODES }, () => mkdtempSync(join(tmpdir(), 'midstream-service-')));
  const env = { ...options.env, ...(redis && nodeEnv(redis)) };
  const start = () => Promise.all(dataDirs.map((dataDir) => startTestServer({ ...options, dataDir, env })));
  let nodes = await start();
  const stop = () => Promise.all(nodes.map((node) => node.stop()));
  const front = await startRoundRobin(() => nodes.map(toTarget));
  return {
    url: front.url,
    wsUrl: toWsUrl(front.url),
    async restart() {
      await stop();
      nodes = await start();
    },
    async dispose() {
      await front.close();
      await stop();
      await redis?.dispose();
      for (const dataDir of dataDirs) rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
