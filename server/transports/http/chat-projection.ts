/** The one-shot chat's view of the log: records of one turn in, SSE events out. Pure. */
import {
  type ChatEvent,
  ERRORS,
  type ErrorCode,
  type EventOf,
  isPartial,
  type LoggedEvent,
  MidstreamError,
  type StopReason,
} from '../../../protocol/index.js';
import type { LogRecord } from '../../session/session-api.js';
import { retryAfterSeconds } from '../wire-error.js';

export type TurnEnded = EventOf<'turn.ended'>;
type ToolResult = Extract<ChatEvent, { event: 'tool_result' }>['data'];
type DoneStatus = Extract<ChatEvent, { event: 'done' }>['data']['status'];

/** Reasons that are a failure, whether or not an error stands beside them. */
const FAILED: readonly StopReason[] = [
  'error',
  'node_lost',
  'tool_timeout',
  'context_window_exceeded',
  'budget_exhausted',
];

export function toStatus({ stop_reason, error }: Pick<TurnEnded, 'stop_reason' | 'error'>): DoneStatus {
  if (error !== undefined || FAILED.includes(stop_reason)) return 'failed';
  if (stop_reason === 'cancelled' || stop_reason === 'interrupted_by_message') return 'cancelled';
  return isPartial(stop_reason) ? 'truncated' : 'completed';
}

/** Why the turn failed, as an error of the table. */
export function toTurnError({ stop_reason, error }: Pick<TurnEnded, 'stop_reason' | 'error'>): MidstreamError {
  if (error === undefined) {
    const code: ErrorCode = stop_reason in ERRORS ? (stop_reason as ErrorCode) : 'internal';
    return new MidstreamError(code, `The turn ended with ${stop_reason}. ${ERRORS[code].advice}`);
  }
  const code: ErrorCode = error.code in ERRORS ? (error.code as ErrorCode) : 'internal';
  const extras: { retryAfterMs?: number; details?: Record<string, unknown> } = {};
  if (error.retry_after_ms !== undefined) extras.retryAfterMs = error.retry_after_ms;
  if (error.details !== undefined) extras.details = error.details;
  return new MidstreamError(code, error.message, extras);
}

export class ChatProjection {
  /** Text of each message so far, by event id, in the order in which the messages began. */
  private readonly texts = new Map<string, string>();
  private readonly toolNames = new Map<string, string>();
  private readonly toolResults: ToolResult[] = [];
  private ended: TurnEnded | undefined;

  constructor(
    readonly conversationId: string,
    readonly turnId: string,
  ) {}

  /** The end of the turn, once it is there. */
  get end(): TurnEnded | undefined {
    return this.ended;
  }

  /** What the agent said in this turn, without what a superseded step said. */
  get text(): string {
    return [...this.texts.values()].join('');
  }

  get isFailure(): boolean {
    return this.ended !== undefined && toStatus(this.ended) === 'failed';
  }

  get producedAnything(): boolean {
    return this.text !== '' || this.toolResults.length > 0;
  }

  /** The SSE events of one record; none for another turn's. */
  project(record: LogRecord): readonly ChatEvent[] {
    if (record.turnId !== this.turnId || this.ended !== undefined) return [];
    if (record.kind === 'event') return this.projectEvent(JSON.parse(record.json) as LoggedEvent);
    if (record.channel !== 'text') return [];
    this.texts.set(record.eventId, (this.texts.get(record.eventId) ?? '') + record.text);
    return [{ event: 'token', data: { text: record.text } }];
  }

  private projectEvent(event: LoggedEvent): readonly ChatEvent[] {
    switch (event.type) {
      case 'turn.started':
        return [{ event: 'start', data: { conversation_id: this.conversationId, turn_id: this.turnId } }];
      case 'agent.message':
        return this.catchUp(event);
      case 'step.superseded':
        for (const id of event.discard_event_ids) this.texts.delete(id);
        return [];
      case 'agent.tool_use':
      case 'agent.mcp_tool_use':
      case 'agent.custom_tool_use': {
        const { id, name, input, label } = event;
        this.toolNames.set(id, name);
        return [{ event: 'tool_call', data: { id, name, input, label } }];
      }
      case 'tool.started': {
        const { tool_use_id, name, label } = event;
        return [{ event: 'tool_start', data: { id: tool_use_id, name, label } }];
      }
      case 'agent.tool_result': {
        const { tool_use_id, content, is_error } = event;
        const data = { id: tool_use_id, name: this.toolNames.get(tool_use_id) ?? '', content, is_error };
        this.toolResults.push(data);
        return [{ event: 'tool_result', data }];
      }
      case 'span.model_request_end':
        return event.step === undefined || event.is_error
          ? []
          : [{ event: 'step_complete', data: { step: event.step, usage: event.model_usage } }];
      case 'turn.ended':
        this.ended = event;
        return this.close(event);
      default:
        return [];
    }
  }

  /** A finished message whose deltas were trimmed, or came only in part, gives the rest as one token. */
  private catchUp(event: EventOf<'agent.message'>): readonly ChatEvent[] {
    const whole = event.content.map((block) => (typeof block['text'] === 'string' ? block['text'] : '')).join('');
    const said = this.texts.get(event.id) ?? '';
    this.texts.set(event.id, whole);
    const rest = whole.startsWith(said) ? whole.slice(said.length) : '';
    return rest === '' ? [] : [{ event: 'token', data: { text: rest } }];
  }

  private close(event: TurnEnded): readonly ChatEvent[] {
    const { stop_reason, usage, cost_usd, partial } = event;
    const events: ChatEvent[] = [];
    if (partial) {
      const { text, toolResults } = this;
      events.push({
        event: 'partial',
        data: { text, tool_results: toolResults, truncated: true, reason: stop_reason },
      });
    }
    const status = toStatus(event);
    if (status === 'failed') events.push(toErrorEvent(toTurnError(event)));
    events.push({
      event: 'done',
      data: { status, stop_reason, usage, cost_usd, conversation_id: this.conversationId },
    });
    return events;
  }
}

export function toErrorEvent(error: MidstreamError): ChatEvent {
  const retryAfter = retryAfterSeconds(error);
  const wait = retryAfter === undefined ? {} : { retry_after: retryAfter };
  return { event: 'error', data: { error: error.code, message: error.message, ...wait } };
}
