/** A world around the pure machine: it keeps the log, has the effects wait, and checks the laws at every step. */
import type { EventOf, LoggedEvent, TurnCommand } from '../../../protocol/index.js';
import { DEFAULT_LIMITS } from '../../../protocol/index.js';
import { canCheckpoint, fromCheckpoint, toCheckpoint } from '../../../server/core/checkpoint.js';
import { applyDelta } from '../../../server/core/delta-fold.js';
import { toMessages } from '../../../server/core/history.js';
import type { LogRecord } from '../../../server/core/log-record.js';
import { toFrame } from '../../../server/core/log-record.js';
import { OPEN_POLICY, type Policy } from '../../../server/core/permissions.js';
import { type FactsOf, UNKNOWN_MODEL } from '../../../server/core/prices.js';
import { createSessionState, type SessionState } from '../../../server/core/session-state.js';
import { applyEvent } from '../../../server/core/session-view.js';
import { toSnapshot } from '../../../server/core/snapshot.js';
import type {
  Effect,
  PlannedRequest,
  Reply,
  Sender,
  ServerTool,
  StepContext,
} from '../../../server/core/transition.js';
import { type Input, type Step, step } from '../../../server/core/turn-machine.js';
import { validateRequest } from '../../support/upstream/messages-validator.js';

export const ALICE: Sender = {
  principal: { user_id: 'alice', org_id: 'acme', roles: ['admin'] },
  connectionId: 'conn_alice',
};

export const SERVER_TOOLS: readonly ServerTool[] = [
  tool('search', { idempotent: true }),
  tool('send_mail', { idempotent: false }),
  tool('wipe', { idempotent: false }),
];

function tool(name: string, { idempotent }: { idempotent: boolean }): ServerTool {
  const input_schema = { type: 'object', properties: { q: { type: 'string' } } };
  return { name, description: name, input_schema, label: `${name}…`, idempotent };
}

export const ASKING: Policy = {
  admin: { tools: { allow: ['*'], ask: ['send_*'], deny: ['wipe'] }, models: ['*'], approve: ['*'] },
};

export interface WorldOptions {
  readonly policy?: Policy;
  readonly maxSteps?: number;
  readonly random?: () => number;
  readonly limits?: Partial<typeof DEFAULT_LIMITS>;
  readonly rolesOf?: (user: string) => readonly string[];
}

export class World {
  state: SessionState;
  now = Date.UTC(2026, 0, 1);
  draining = false;
  heldBack: string | undefined;
  overloaded = false;
  full = false;
  policy: Policy;
  factsOf: FactsOf = () => UNKNOWN_MODEL;
  readonly log: LogRecord[] = [];
  readonly events: LoggedEvent[] = [];
  /** Every frame, deltas too, parsed. */
  readonly frames: { type: string; seq: number; turn_id?: string }[] = [];
  readonly effects: Effect[] = [];
  readonly requests: PlannedRequest[] = [];
  #ids = 0;
  #checkpoint: { seq: number; json: string } | undefined;
  readonly #options: WorldOptions;

  constructor(options: WorldOptions = {}) {
    this.#options = options;
    this.policy = options.policy ?? OPEN_POLICY;
    this.state = this.#newSession();
  }

  /** Alice's, whom Bob may help. */
  #newSession(createdAt = this.now): SessionState {
    const session = createSessionState({
      sessionId: 'sesn_1',
      epoch: 'e1',
      owner: { user_id: 'alice', org_id: 'acme' },
      title: null,
      metadata: {},
      agent: {
        type: 'agent' as const,
        name: 'default',
        model: 'scripted',
        system: 'Be kind.',
        tools: ['*'],
        max_tokens: 1_000,
        max_steps: this.#options.maxSteps ?? 8,
        deadline_ms: 60_000,
      },
      createdAt,
    });
    return { ...session, members: [...session.members, { user_id: 'bob', role: 'editor' }] };
  }

  context(): StepContext {
    return {
      now: this.now,
      newId: (prefix) => `${prefix}_${++this.#ids}`,
      random: this.#options.random ?? (() => 0.5),
      limits: { ...DEFAULT_LIMITS, ...this.#options.limits },
      approvalTimeoutMs: 600_000,
      serverTools: new Map(SERVER_TOOLS.map((t) => [t.name, t])),
      policy: this.policy,
      rolesOf: ({ user_id }) => this.#options.rolesOf?.(user_id) ?? ['admin'],
      heldBack: this.heldBack,
      fitsSchema: (_schema, input) =>
        typeof (input as { q?: unknown }).q === 'number' ? '/q must be string' : undefined,
      refuseSchema: () => undefined,
      mayRegister: () => true,
      factsOf: this.factsOf,
      draining: this.draining,
      hasPlace: () => !this.overloaded && !this.full,
      isOverloaded: () => this.overloaded,
    };
  }

  /** Steps the machine and checks what came of it. */
  input(input: Input): Step {
    const next = step(this.state, input, this.context());
    this.state = next.state;
    for (const record of next.records) this.#append(record);
    for (const effect of next.effects) this.#check(effect);
    this.effects.push(...next.effects);
    return next;
  }

  command(command: Omit<TurnCommand, 'session_id'>, sender = ALICE): Reply {
    const full = { ...command, session_id: 'sesn_1' } as TurnCommand;
    const reply = this.input({ type: 'command', command: full, sender, hold: 'needed' }).reply;
    if (!reply) throw new Error('a command got no reply');
    return reply;
  }

  say(text: string, extra: object = {}): Reply {
    const content = [{ type: 'text' as const, text }];
    return this.command({ type: 'user.message', id: `c${++this.#ids}`, content, ...extra } as never);
  }

  interrupt(target: object = {}): Reply {
    return this.command({ type: 'user.interrupt', id: `c${++this.#ids}`, ...target } as never);
  }

  /** Grants every hold that is asked for, in order. */
  admit(): void {
    for (;;) {
      const at = this.effects.findIndex((e) => e.type === 'reserve');
      if (at === -1) return;
      const [effect] = this.effects.splice(at, 1);
      if (effect?.type === 'reserve') this.input({ type: 'admitted', key: effect.key });
    }
  }

  /** The last request that the model got. */
  get request(): PlannedRequest {
    const last = this.requests.at(-1);
    if (!last) throw new Error('the model was not asked');
    return last;
  }

  /** Everything but the log is lost; the log is folded again, from the last checkpoint or from the start. */
  crash(): void {
    const from = this.#checkpoint;
    let state = from ? fromCheckpoint(from.json, 'e1') : this.#newSession(this.state.createdAt);
    for (const record of this.log) {
      if (record.seq <= state.seq) continue;
      state =
        record.kind === 'delta' ? applyDelta(state, record) : applyEvent(state, JSON.parse(record.json) as LoggedEvent);
    }
    if (state.seq !== this.state.seq) throw new Error('the fold does not reach the head');
    this.state = state;
    this.effects.length = 0;
    this.input({ type: 'recover', cause: 'lost' });
  }

  checkpoint(): void {
    if (canCheckpoint(this.state)) this.#checkpoint = { seq: this.state.seq, json: toCheckpoint(this.state) };
  }

  /** Folds the whole log again. */
  fold(): SessionState {
    let state = this.#newSession(this.state.createdAt);
    for (const record of this.log)
      state =
        record.kind === 'delta' ? applyDelta(state, record) : applyEvent(state, JSON.parse(record.json) as LoggedEvent);
    return state;
  }

  of<T extends LoggedEvent['type']>(type: T): EventOf<T>[] {
    return this.events.filter((event) => event.type === type) as EventOf<T>[];
  }

  types(): string[] {
    return this.frames.map((frame) => frame.type);
  }

  #append(record: LogRecord): void {
    if (record.seq !== this.log.length + 1) throw new Error(`LOG-1: seq ${record.seq} after ${this.log.length}`);
    this.log.push(record);
    const frame = JSON.parse(toFrame('sesn_1', record, record.seq - 1)) as (typeof this.frames)[number];
    this.frames.push(frame);
    if (record.kind === 'event') this.events.push(frame as LoggedEvent);
  }

  #check(effect: Effect): void {
    if (effect.type !== 'request_model') return;
    this.requests.push(effect.request);
    const { model, maxTokens, messages, tools, toolChoice } = effect.request;
    const problems = validateRequest({
      model,
      max_tokens: maxTokens,
      stream: true,
      messages,
      ...(tools.length > 0 && { tools }),
      ...(toolChoice && tools.length > 0 && { tool_choice: toolChoice }),
    });
    if (problems.length > 0) throw new Error(`TURN-3: ${problems.join('; ')}\n${JSON.stringify(messages, null, 1)}`);
  }

  /** TURN-3 at this moment: whatever is open is closed, and a user speaks next. */
  checkHistory(): void {
    const { history, turn } = this.state;
    const messages = toMessages([...history, ...(turn?.items ?? [])], 'scripted', 'request');
    const last = messages.at(-1);
    const next = { role: 'user' as const, content: [{ type: 'text', text: 'And now?' }] };
    if (last?.role === 'user') last.content.push(...next.content);
    else messages.push(next);
    const problems = validateRequest({ model: 'scripted', max_tokens: 1_000, messages });
    if (problems.length > 0) throw new Error(`TURN-3: ${problems.join('; ')}\n${JSON.stringify(messages, null, 1)}`);
    toSnapshot(this.state);
  }

  /** The laws that a whole log can be held against. */
  checkLog(): void {
    const ended = new Map<string, number>();
    const cancelled = new Map<string, number>();
    const results = new Map<string, number>();
    const calls = new Set<string>();
    for (const frame of this.frames) {
      const { turn_id, seq, type } = frame;
      if (turn_id !== undefined && ended.has(turn_id))
        throw new Error(`TURN-1: ${type} ${seq} after turn.ended ${ended.get(turn_id)} of ${turn_id}`);
      if (turn_id !== undefined && cancelled.has(turn_id) && (type === 'event_delta' || type === 'tool.started'))
        throw new Error(`CAN-2: ${type} ${seq} after the interrupt ${cancelled.get(turn_id)}`);
      if (type === 'turn.ended' && turn_id !== undefined) ended.set(turn_id, seq);
      if (type === 'user.interrupt' && turn_id !== undefined) cancelled.set(turn_id, seq);
      if (/^agent\.(custom_|mcp_)?tool_use$/.test(type)) calls.add((frame as unknown as { id: string }).id);
      if (type === 'agent.tool_result') {
        const id = (frame as unknown as { tool_use_id: string }).tool_use_id;
        if (results.has(id)) throw new Error(`TOOL-4: two results for ${id}`);
        if (!calls.has(id)) throw new Error(`a result for an unknown call ${id}`);
        results.set(id, seq);
      }
    }
    const running = this.frames.filter((f) => f.type === 'turn.started').map((f) => f.turn_id);
    const open = running.filter((id) => id !== undefined && !ended.has(id));
    if (open.length > 1 || (open[0] !== undefined && open[0] !== this.state.turn?.turnId))
      throw new Error(`TURN-1: open turns ${open.join()}`);
  }
}
