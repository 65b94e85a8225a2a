/** Several servers on one Redis behind one proxy, with an upstream that can fail and tools that really run. */
import { createHash } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import type { FileConfigInput } from '../../server/config/index.js';
import { callHttp, type HttpAnswer } from './blackbox-http.js';
import { BlackboxServer } from './blackbox-server.js';
import { startToolServer, type ToolServer } from './blackbox-tools.js';
import { type RedisServer, startRedis } from './redis-server.js';
import { type LoadBalancer, startLoadBalancer } from './load-balancer.js';
import { startUpstream, type Upstream } from './upstream/index.js';

export const LEASE_MS = 2_000;
const DRAIN_MS = 400;
const LOOK_MS = 100;
/** Enough for every request of a run: what is tried is that the ledger counts, not that it refuses. */
const DAY_TOKENS = 1_000_000_000;

export interface FarmOptions {
  readonly nodes: number;
  readonly users: number;
}

const keyOf = (user: number): string => `the-key-of-user-${user}`;
/** The key that a node shows to the upstream, so that each request can be traced to its node. */
const upstreamKeyOf = (node: number): string => `sk-node-${node}`;

export class NodeFarm {
  private constructor(
    readonly upstream: Upstream,
    readonly redis: RedisServer,
    readonly tools: ToolServer,
    readonly nodes: readonly BlackboxServer[],
    readonly proxy: LoadBalancer,
  ) {}

  static async start(options: FarmOptions): Promise<NodeFarm> {
    const [upstream, redis, tools] = await Promise.all([startUpstream(), startRedis(), startToolServer()]);
    try {
      const nodes = await startNodes(options, upstream, redis, tools);
      const proxy = await startLoadBalancer(() => nodes.map(({ url }) => Number(new URL(url).port)));
      return new NodeFarm(upstream, redis, tools, nodes, proxy);
    } catch (error) {
      await Promise.all([upstream.close(), redis.dispose(), tools.close()]);
      throw error;
    }
  }

  /** Of the proxy. */
  get wsUrl(): string {
    return `ws://127.0.0.1:${this.proxy.port}/v1/ws`;
  }

  headersOf(user: number): Readonly<Record<string, string>> {
    return { 'x-api-key': keyOf(user) };
  }

  /** Asks one node, past the proxy. */
  get(node: number, user: number, path: string): Promise<HttpAnswer> {
    return callHttp(this.nodes[node]?.url ?? '', 'GET', path, undefined, this.headersOf(user));
  }

  /** The user's day, once nothing is held any more. */
  async settledDay(user: number, patienceMs: number): Promise<{ readonly used: number; readonly held: number }> {
    for (const until = Date.now() + patienceMs; ; await after(LOOK_MS)) {
      const { status, body } = await this.get(0, user, '/v1/usage');
      const day = body.windows?.find(
        (it: { scope: string; window: string }) => it.scope === 'user' && it.window === 'day',
      );
      if (status === 200 && day.held === 0) return day;
      if (Date.now() > until) throw new Error(`a hold was left: ${JSON.stringify(body)}`);
    }
  }

  /** Resolves when a node reads an answer of the upstream. */
  async answering(node: number): Promise<void> {
    const isReading = (): boolean =>
      this.upstream.requests.some((request) => request.closing === undefined && this.nodeOf(request) === node);
    while (!isReading()) await this.upstream.waitForRequest(this.upstream.requests.length + 1);
  }

  /** Which node made a request of the upstream. */
  nodeOf(request: { readonly headers: Readonly<Record<string, unknown>> }): number {
    return this.nodes.findIndex((_, n) => request.headers['authorization'] === `Bearer ${upstreamKeyOf(n)}`);
  }

  async dispose(): Promise<void> {
    await this.proxy.close();
    for (const node of this.nodes) node.resume();
    await Promise.all(this.nodes.map((node) => node.dispose()));
    await Promise.all([this.upstream.close(), this.tools.close(), this.redis.dispose()]);
  }
}

async function startNodes(
  { nodes: count, users }: FarmOptions,
  upstream: Upstream,
  redis: RedisServer,
  tools: ToolServer,
): Promise<readonly BlackboxServer[]> {
  const config = toConfig(tools, users);
  const toEnv = (node: number): Readonly<Record<string, string>> => ({
    REDIS_URL: redis.url,
    MIDSTREAM_AUTH: 'required',
    MIDSTREAM_LEASE_MS: String(LEASE_MS),
    MIDSTREAM_DRAIN_MS: String(DRAIN_MS),
    ANTHROPIC_API_KEY: upstreamKeyOf(node),
  });
  const nodes = Array.from({ length: count }, (_, n) => new BlackboxServer({ upstream, config, env: toEnv(n) }));
  try {
    return await Promise.all(nodes.map((node) => node.start()));
  } catch (error) {
    await Promise.all(nodes.map((node) => node.dispose()));
    throw error;
  }
}

function toConfig(tools: ToolServer, users: number): FileConfigInput {
  return {
    agents: { default: { max_tokens: 1_000 } },
    tools: [tools.toolConfig('search_filings', { idempotent: true }), tools.toolConfig('send_mail')],
    client_tools: ['edit_*'],
    roles: {
      user: {
        tools: { allow: ['*'], ask: ['send_*'] },
        models: ['*'],
        approve: ['*'],
        budget: { day: { tokens: DAY_TOKENS } },
      },
    },
    org_budget: { day: { tokens: DAY_TOKENS } },
    api_keys: Array.from({ length: users }, (_, user) => ({
      id: `key-${user}`,
      sha256: createHash('sha256').update(keyOf(user)).digest('hex'),
      user_id: `user-${user}`,
      org_id: 'acme',
      roles: ['user'],
      created_at: '2026-01-01T00:00:00Z',
    })),
    limits: {
      headers_timeout_ms: 1_500,
      first_content_timeout_ms: 1_500,
      silence_timeout_ms: 1_500,
      sockets_per_user: 64,
    },
  };
}
