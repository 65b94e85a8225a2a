/** Many clients in a few sessions, each session with a user of its own, and what all of them must agree on in the end. */
import { isDeepStrictEqual } from 'node:util';
import { createRandom } from '../core/support/random.js';
import { CommandBook, type LoggedEvent } from './command-book.js';
import { type Mood, NodeClient } from './node-client.js';
import type { NodeFarm } from './node-farm.js';
import { type Happened, lawsOfLog } from './session-log-laws.js';
import { WsRecorder } from './ws-recorder.js';

export interface CrowdOptions {
  readonly sessions: number;
  readonly clientsEach: number;
  readonly seed: number;
  readonly mood: Mood;
}

export interface CrowdSession {
  readonly user: number;
  readonly id: string;
  readonly book: CommandBook;
  readonly clients: readonly NodeClient[];
}

const EVENTS_A_PAGE = 1_000;

export class NodeCrowd {
  private constructor(
    readonly farm: NodeFarm,
    readonly sessions: readonly CrowdSession[],
  ) {}

  static async create(farm: NodeFarm, { sessions, clientsEach, seed, mood }: CrowdOptions): Promise<NodeCrowd> {
    const create = async (user: number): Promise<CrowdSession> => {
      const headers = farm.headersOf(user);
      const maker = await WsRecorder.connect(farm.wsUrl, headers);
      const id = await maker.createSession();
      await maker.drop();
      const book = new CommandBook();
      const toClient = (_: unknown, n: number): NodeClient =>
        new NodeClient({
          name: `u${user}c${n}`,
          wsUrl: farm.wsUrl,
          headers,
          sessionId: id,
          book,
          random: createRandom(seed * 1_000 + user * 10 + n),
          mood,
        });
      return { user, id, book, clients: Array.from({ length: clientsEach }, toClient) };
    };
    return new NodeCrowd(farm, await Promise.all(Array.from({ length: sessions }, (_, user) => create(user))));
  }

  get clients(): readonly NodeClient[] {
    return this.sessions.flatMap(({ clients }) => clients);
  }

  /** Lets all work while `during` goes on, then come to rest, and see the last event. Resolves with the logs. */
  async work(during: () => Promise<void>): Promise<ReadonlyMap<CrowdSession, readonly LoggedEvent[]>> {
    const running = Promise.all(this.clients.map((client) => client.run()));
    try {
      await Promise.race([during(), running]);
      for (const client of this.clients) client.rest();
      await running;
      const logs = await Promise.all(
        this.sessions.map(async (session) => [session, await this.readLog(session, 0)] as const),
      );
      for (const [{ clients }, log] of logs)
        await Promise.all(clients.map((client) => client.leaveAt(log.at(-1)?.seq ?? 0)));
      return new Map(logs);
    } catch (error) {
      await Promise.all(this.clients.map((client) => client.giveUp()));
      await running.catch(() => undefined);
      throw error;
    }
  }

  /** The codes of all refusals. */
  refusals(): readonly string[] {
    const replies = this.sessions.flatMap(({ book }) => book.commands.flatMap((booked) => booked.replies));
    return replies.flatMap((reply) => (reply.type === 'command.rejected' ? [reply.error.code] : []));
  }

  async readLog({ id, user }: CrowdSession, node: number): Promise<readonly LoggedEvent[]> {
    const events: LoggedEvent[] = [];
    for (let page = ''; ; ) {
      const path = `/v1/sessions/${id}/events?limit=${EVENTS_A_PAGE}${page}`;
      const { status, body } = await this.farm.get(node, user, path);
      if (status !== 200) throw new Error(`the log of ${id} answered ${status}: ${JSON.stringify(body)}`);
      events.push(...(body.data as LoggedEvent[]));
      if (body.next_page === null) return events;
      page = `&page=${encodeURIComponent(body.next_page as string)}`;
    }
  }

  /** What breaks a law in a session that is at rest. */
  violationsOf(
    { book, clients, id }: CrowdSession,
    log: readonly LoggedEvent[],
    happened: Happened,
  ): readonly string[] {
    const told = [...clients.flatMap((client) => [...client.violations, ...client.seen.violations])];
    const found = [...told, ...lawsOfLog(log, happened), ...book.violations(log)];
    const said = textOf(log);
    for (const { seen, deps } of clients) {
      const shown = seen.completed.map(({ prev_seq: _, ...event }) => event);
      const at = log.findIndex((event, n) => !isDeepStrictEqual(event, shown[n]));
      if (at >= 0 || shown.length !== log.length)
        found.push(
          `[LOG-1] ${deps.name} saw ${JSON.stringify(shown[at])} where the log has ${JSON.stringify(log[at])}`,
        );
      if (seen.transcript.text !== said) found.push(`[LOG-1] ${deps.name} shows another text than the log`);
    }
    return found.map((violation) => `${id}: ${violation}`);
  }
}

function textOf(log: readonly LoggedEvent[]): string {
  const discarded = new Set(
    log.flatMap((event) => (event.type === 'step.superseded' ? (event['discard_event_ids'] as string[]) : [])),
  );
  return log
    .filter(({ type, id }) => type === 'agent.message' && !discarded.has(id))
    .flatMap((event) => (event['content'] as { readonly text?: string }[]).map(({ text }) => text ?? ''))
    .join('');
}
