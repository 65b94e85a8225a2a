/**
 * What a ledger must have counted, from what the upstream saw and what the logs say.
 *
 * A request whose node was left alone until its end is charged exactly what its `span.model_request_end` says, and where
 * that is no estimate, what the upstream reported. One whose node was disturbed meanwhile is settled from its last
 * checkpoint, or exactly, or by nobody: between nothing and its input (as told or as estimated) with all of its output.
 */
import type { LoggedEvent } from './command-book.js';
import { inputTokensOf } from './node-model.js';
import type { Disturbance } from './node-saboteur.js';
import type { RecordedRequest, Reply } from './upstream/index.js';

/** A settlement follows the span's end by this many milliseconds at most, on a busy machine. */
const SETTLE_MS = 1_000;
const { timeOrigin } = performance;
/** How the server estimates tokens by text. */
const CHARS_PER_TOKEN = 3.5;

export interface Spent {
  readonly log: readonly LoggedEvent[];
  /** Of the sessions whose logs these are. */
  readonly requests: readonly RecordedRequest[];
  readonly replies: ReadonlyMap<number, Reply>;
  readonly disturbances: readonly Disturbance[];
  readonly nodeOf: (request: RecordedRequest) => number;
}

export interface Bounds {
  least: number;
  most: number;
  /** How many requests are counted exactly, and how many within bounds. */
  exact: number;
  bounded: number;
  readonly violations: string[];
  /** What the bounds are made of, for who looks into a violation. */
  readonly parts: object[];
}

export function boundSpending(spent: Spent): Bounds {
  const bounds: Bounds = { least: 0, most: 0, exact: 0, bounded: 0, violations: [], parts: [] };
  const byInput = new Map(spent.requests.map((request) => [inputTokensOf(request), request]));
  const told = new Set<RecordedRequest>();
  const unsure = new Set<RecordedRequest>();
  for (const span of spansOf(spent.log)) {
    const request = byInput.get(span.usage.input_tokens);
    bounds.parts.push({ ...span, request: request?.number, isDisturbed: isDisturbed(spent, span, request) });
    if (isDisturbed(spent, span, request)) {
      // Where its request is known, its bounds come below.
      if (request) unsure.add(request);
      else bounds.most += span.isTakenOver ? 0 : span.tokens;
      continue;
    }
    if (request) told.add(request);
    if (request && !span.isEstimated) bounds.violations.push(...lawsOfUsage(span, spent.replies.get(request.number)));
    bounds.exact += 1;
    bounds.least += span.tokens;
    bounds.most += span.tokens;
  }
  for (const request of spent.requests) {
    const node = spent.nodeOf(request);
    if (node < 0) throw new Error(`whose request ${request.number} is, is not known`);
    const endedAt = request.closing?.at ?? performance.now();
    const { at, number } = request;
    bounds.parts.push({ number, node, at: timeOrigin + at, endedAt: timeOrigin + endedAt, isTold: told.has(request) });
    const isSure = !wasDisturbed(spent, node, timeOrigin + request.at, timeOrigin + endedAt);
    if (told.has(request) || (isSure && !unsure.has(request))) continue;
    bounds.bounded += 1;
    bounds.most += mostOf(request, spent.replies.get(request.number));
  }
  return bounds;
}

interface Span {
  readonly from: number;
  readonly to: number;
  readonly usage: { readonly input_tokens: number; readonly output_tokens: number };
  readonly tokens: number;
  readonly isEstimated: boolean;
  /** Its end was written by another node than its start. */
  readonly isTakenOver: boolean;
}

function spansOf(log: readonly LoggedEvent[]): readonly Span[] {
  const starts = new Map<string, LoggedEvent>();
  const recovered = new Map<string, number>();
  return log.flatMap((event) => {
    if (event.type === 'span.model_request_start') starts.set(event.id, event);
    if (event.type === 'turn.resumed' && event['recovery'] !== undefined) recovered.set(event.turn_id ?? '', event.seq);
    if (event.type !== 'span.model_request_end') return [];
    const start = starts.get(String(event['model_request_start_id']));
    if (start === undefined) throw new Error(`span.model_request_end ${event.seq} has no start`);
    const usage = event['model_usage'] as Span['usage'];
    const isTakenOver = (recovered.get(event.turn_id ?? '') ?? 0) > start.seq;
    return [
      {
        from: Date.parse(start.processed_at),
        to: Date.parse(event.processed_at),
        usage,
        tokens: usage.input_tokens + usage.output_tokens,
        isEstimated: event['estimated'] === true,
        isTakenOver,
      },
    ];
  });
}

/** Which node it was of is not known where its request is not: then it may have been any. */
const isDisturbed = (spent: Spent, span: Span, request: RecordedRequest | undefined): boolean =>
  span.isTakenOver || wasDisturbed(spent, request && spent.nodeOf(request), span.from, span.to);

const wasDisturbed = ({ disturbances }: Spent, node: number | undefined, fromMs: number, toMs: number): boolean =>
  disturbances.some(
    (it) => (node === undefined || it.node === node) && it.from <= toMs + SETTLE_MS && it.to >= fromMs - SETTLE_MS,
  );

function lawsOfUsage({ usage }: Span, reply: Reply | undefined): readonly string[] {
  const output = reply && 'usage' in reply ? reply.usage?.output_tokens : undefined;
  return output === usage.output_tokens
    ? []
    : [`[BUD-2] the request of ${usage.input_tokens} tokens made ${output}, and ${usage.output_tokens} are charged`];
}

function mostOf(request: RecordedRequest, reply: Reply | undefined): number {
  const sent = Math.ceil(JSON.stringify(request.body).length / CHARS_PER_TOKEN);
  const said = reply && 'blocks' in reply ? reply : undefined;
  const made = Math.ceil(JSON.stringify(said?.blocks ?? []).length / CHARS_PER_TOKEN);
  return Math.max(inputTokensOf(request), sent) + Math.max(said?.usage?.output_tokens ?? 0, made);
}
