/** Client tools: registers them on every connection, runs the calls that are offered to this one, and sends their results. */
import type { ClientFrameInput } from '../protocol/commands.js';
import type { ClientTool } from '../protocol/content.js';
import type { MidstreamError } from '../protocol/errors.js';
import type { SessionEvent } from '../protocol/events.js';
import type { OpenCall, Snapshot } from '../protocol/resources.js';
import { createCommandId } from './command-id.js';
import type { Lifetime, Reply } from './outbox.js';
import { createProgressThrottle, type Progress } from './progress-throttle.js';
import type { Runtime } from './runtime.js';
import { toFailure, type ToolOutput, type ToolResult, toToolResult } from './tool-output.js';

export interface ToolContext {
  /** Aborts when the call is over for the server: resolved by somebody else, timed out, or its turn ended. */
  readonly signal: AbortSignal;
  readonly tool_use_id: string;
  /** Shows how far it is; as often as you like. */
  progress(progress: Progress | string): void;
}

export type ToolHandler<Input = Record<string, unknown>> = (
  input: Input,
  context: ToolContext,
) => ToolOutput | Promise<ToolOutput>;

export interface ToolRegistration {
  /** Resolves when the server knows the tool; it is offered from the next turn on. Rejects when it is refused. */
  readonly registered: Promise<void>;
  unregister(): void;
}

export interface ToolsDeps {
  readonly sessionId: string;
  readonly runtime: Runtime;
  /** Of this moment's connection; undefined while there is none. */
  connectionId(): string | undefined;
  send(frame: ClientFrameInput, lifetime: Lifetime, reply: Reply): void;
  onError(error: unknown): void;
}

interface Tool {
  readonly definition: ClientTool;
  readonly handler: ToolHandler;
  onRegistered(): void;
  onRefused(error: MidstreamError): void;
}

interface Call {
  readonly name: string;
  readonly input: Record<string, unknown>;
  readonly turnId: string | undefined;
  connectionId: string | undefined;
  /** Set once it runs or ran: a call runs once here, whoever it is offered to next. */
  running?: AbortController;
}

const IGNORED: Reply = { accepted: () => {}, rejected: () => {} };
/** The protocol's bound of tools in one command. */
const REGISTER_BATCH = 128;
/** Refusals that say that the call has its result. */
const IS_OVER: readonly string[] = ['already_resolved', 'tool_call_not_found', 'turn_not_active', 'session_not_found'];

export class ClientTools {
  readonly #deps: ToolsDeps;
  readonly #tools = new Map<string, Tool>();
  readonly #calls = new Map<string, Call>();
  #isConnected = false;

  constructor(deps: ToolsDeps) {
    this.#deps = deps;
  }

  add(definition: ClientTool, handler: ToolHandler): ToolRegistration {
    let onRegistered!: () => void;
    let onRefused!: (error: MidstreamError) => void;
    const registered = new Promise<void>((resolve, reject) => {
      onRegistered = resolve;
      onRefused = reject;
    });
    // Nobody has to await it: a refusal goes to `onError` as well.
    registered.catch(() => {});
    const tool: Tool = { definition, handler, onRegistered, onRefused };
    this.#tools.set(definition.name, tool);
    if (this.#isConnected) this.#register([tool]);
    return { registered, unregister: () => this.#remove(tool) };
  }

  /** A connection is ready: it knows none of the tools yet. */
  connect(): void {
    this.#isConnected = true;
    const tools = [...this.#tools.values()];
    for (let at = 0; at < tools.length; at += REGISTER_BATCH) this.#register(tools.slice(at, at + REGISTER_BATCH));
  }

  /** The connection went. Calls that run go on: their results are sent on the next one. */
  disconnect(): void {
    this.#isConnected = false;
  }

  apply(event: SessionEvent): void {
    switch (event.type) {
      case 'agent.custom_tool_use':
        this.#calls.set(event.id, { ...event, turnId: event.turn_id, connectionId: undefined });
        return;
      case 'user.tool_confirmation': {
        const call = this.#calls.get(event.tool_use_id);
        if (call && event.updated_input) this.#calls.set(event.tool_use_id, { ...call, input: event.updated_input });
        return;
      }
      case 'tool.offered': {
        const call = this.#calls.get(event.tool_use_id);
        if (call) call.connectionId = event.connection_id;
        return;
      }
      case 'agent.tool_result':
        return this.#close(event.tool_use_id);
      case 'step.superseded':
        for (const id of event.discard_event_ids) this.#close(id);
        return;
      case 'turn.ended':
        for (const [id, call] of [...this.#calls]) if (call.turnId === event.turn_id) this.#close(id);
        return;
      default:
        return;
    }
  }

  /** The open calls are these and no others. */
  applySnapshot({ pending, turn }: Snapshot): void {
    const open = new Map(pending.filter(({ type }) => type === 'agent.custom_tool_use').map((c) => [c.tool_use_id, c]));
    for (const id of [...this.#calls.keys()]) if (!open.has(id)) this.#close(id);
    for (const [id, call] of open) this.#calls.set(id, this.#toCall(id, call, turn?.turn_id));
  }

  /** Starts what is offered here. Called when the log is read to its head, so that nothing already resolved is run. */
  runOffered(): void {
    const connectionId = this.#deps.connectionId();
    if (connectionId === undefined || this.#calls.size === 0) return;
    for (const [id, call] of [...this.#calls]) {
      const tool = this.#tools.get(call.name);
      if (tool && !call.running && call.connectionId === connectionId) void this.#run(id, call, tool);
    }
  }

  /** The session is over for this client. */
  end(error: MidstreamError): void {
    for (const id of [...this.#calls.keys()]) this.#close(id);
    for (const tool of this.#tools.values()) tool.onRefused(error);
    this.#tools.clear();
  }

  #toCall(id: string, call: OpenCall, turnId: string | undefined): Call {
    const { name, input, connection_id: connectionId } = call;
    return { name, input, turnId, connectionId, running: this.#calls.get(id)?.running };
  }

  #register(tools: readonly Tool[]): void {
    const { sessionId, runtime, send, onError } = this.#deps;
    if (tools.length === 0) return;
    const definitions = tools.map(({ definition }) => definition);
    const id = createCommandId(runtime.now());
    send({ type: 'tools.register', id, session_id: sessionId, tools: definitions }, 'connection', {
      accepted: () => {
        for (const tool of tools) tool.onRegistered();
      },
      rejected: (error) => {
        if (error.details?.['outcome'] === 'unknown') return;
        // One bad tool refuses them all: ask for each by itself.
        if (tools.length > 1) {
          for (const tool of tools) this.#register([tool]);
          return;
        }
        for (const tool of tools) tool.onRefused(error);
        onError(error);
      },
    });
  }

  #remove(tool: Tool): void {
    const { name } = tool.definition;
    if (this.#tools.get(name) !== tool) return;
    this.#tools.delete(name);
    const { sessionId, runtime, send } = this.#deps;
    const id = createCommandId(runtime.now());
    if (this.#isConnected)
      send({ type: 'tools.unregister', id, session_id: sessionId, names: [name] }, 'connection', IGNORED);
  }

  async #run(id: string, call: Call, tool: Tool): Promise<void> {
    const { sessionId, runtime, send } = this.#deps;
    const running = new AbortController();
    call.running = running;
    const throttle = createProgressThrottle(runtime, (progress) => {
      const commandId = createCommandId(runtime.now());
      const report = { ...progress, ...(progress.message && { message: progress.message.slice(0, 2_000) }) };
      send(
        { type: 'user.tool_progress', id: commandId, session_id: sessionId, custom_tool_use_id: id, ...report },
        'connection',
        IGNORED,
      );
    });
    const context: ToolContext = {
      signal: running.signal,
      tool_use_id: id,
      progress: (progress) => throttle.report(typeof progress === 'string' ? { message: progress } : progress),
    };
    const result = await settle(() => tool.handler(call.input, context));
    throttle.stop();
    if (!running.signal.aborted) this.#answer(id, result);
  }

  #answer(id: string, result: ToolResult): void {
    const { sessionId, runtime, send, onError } = this.#deps;
    const commandId = createCommandId(runtime.now());
    const frame = { type: 'user.custom_tool_result' as const, id: commandId, session_id: sessionId };
    send({ ...frame, custom_tool_use_id: id, ...result }, 'client', {
      accepted: () => {},
      rejected: (error) => {
        if (IS_OVER.includes(error.code) || !this.#calls.has(id)) return;
        onError(error);
        // The model waits for some result; that this one was refused is one, unless even that was.
        const isMendable = error.code === 'payload_too_large' || error.code === 'invalid_request';
        if (isMendable && !result.is_error) this.#answer(id, toFailure(error));
      },
    });
  }

  #close(id: string): void {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    call?.running?.abort();
  }
}

async function settle(run: () => ToolOutput): Promise<ToolResult> {
  try {
    return toToolResult(await run());
  } catch (error) {
    return toFailure(error);
  }
}
