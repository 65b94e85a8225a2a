/** A fake server and clients of it that reconnect at once; everything is closed after each test. */
import {
  type ClientOptions,
  type ConnectionStatus,
  createClient,
  type MidstreamClient,
} from '../../../client-sdk/index.js';
import type { SessionEvent } from '../../../protocol/events.js';
import { FakeServer, type FakeServerOptions } from './fake-server.js';

export interface TestClient {
  readonly client: MidstreamClient;
  readonly statuses: ConnectionStatus[];
  readonly errors: unknown[];
  /** Resolves at the first status for which `matches` holds, past ones included. */
  status(matches: (status: ConnectionStatus) => boolean): Promise<ConnectionStatus>;
}

const open: { close(): void | Promise<void> }[] = [];

export async function startFakeServer(options?: FakeServerOptions): Promise<FakeServer> {
  const server = await FakeServer.start(options);
  open.push({ close: () => server.stop() });
  return server;
}

export function startClient(server: { readonly url: string }, options: ClientOptions = {}): TestClient {
  const statuses: ConnectionStatus[] = [];
  const errors: unknown[] = [];
  const waiters = new Set<() => void>();
  const client = createClient({
    url: server.url,
    backoff: { baseMs: 4, maxMs: 16 },
    onError: (error) => errors.push(error),
    ...options,
    onStatus: (status) => {
      statuses.push(status);
      for (const wake of [...waiters]) wake();
    },
  });
  open.push(client);
  const status: TestClient['status'] = async (matches) => {
    for (;;) {
      const found = statuses.find(matches);
      if (found) return found;
      await new Promise<void>((resolve) => waiters.add(resolve));
    }
  };
  return { client, statuses, errors, status };
}

/** For `afterEach`: clients first, then servers. */
export async function closeAll(): Promise<void> {
  for (const item of open.splice(0).reverse()) await item.close();
}

export async function collect(events: AsyncIterable<SessionEvent>): Promise<SessionEvent[]> {
  const all: SessionEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

export const USAGE = { input_tokens: 1, output_tokens: 2, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

/** Writes what a server logs of a turn, piece by piece. */
export function createTurnWriter(server: FakeServer, sessionId: string, turnId: string) {
  const append = (draft: { type: string } & Record<string, unknown>): SessionEvent =>
    server.append(sessionId, { turn_id: turnId, ...draft });
  const at = { step: 1, attempt: 1 };
  return {
    append,
    start: () =>
      append({
        type: 'turn.started',
        ...{ model: 'm', payer: { user_id: 'u', org_id: 'o' }, deadline_at: '2026-01-01T00:00:00.000Z' },
        ...{ tools: [], client_tools: [] },
      }),
    startMessage: (id: string, index = 0) =>
      append({ type: 'event_start', ...at, index, event: { type: 'agent.message', id } }),
    delta: (id: string, text: string) =>
      append({
        type: 'event_delta',
        event_id: id,
        delta: { type: 'content_delta', index: 0, content: { type: 'text', text } },
      }),
    message: (id: string, text: string, status = 'complete', index = 0) =>
      append({ type: 'agent.message', id, ...at, index, status, content: [{ type: 'text', text }] }),
    callTool: (id: string, name: string, input: object, permission = 'allow') =>
      append({
        ...{ type: 'agent.custom_tool_use', id, ...at, name, label: name, input },
        ...{ evaluated_permission: permission, model_tool_use_id: `toolu_${id}` },
      }),
    offer: (id: string, connectionId: string) =>
      append({
        type: 'tool.offered',
        ...{ tool_use_id: id, connection_id: connectionId, expires_at: '2026-01-01T00:00:00.000Z' },
      }),
    toolResult: (id: string, text: string, outcome = 'ok') =>
      append({
        ...{ type: 'agent.tool_result', tool_use_id: id, content: [{ type: 'text', text }] },
        ...{ is_error: outcome !== 'ok', outcome, duration_ms: 1 },
      }),
    end: (stop_reason = 'end_turn') => {
      const event = append({
        ...{ type: 'turn.ended', stop_reason, partial: stop_reason !== 'end_turn', usage: USAGE },
        ...{ estimated: false, cost_usd: 0.001, duration_ms: 1 },
      });
      server.append(sessionId, { type: 'session.status_idle', stop_reason: { type: 'end_turn' } });
      return event;
    },
  };
}
