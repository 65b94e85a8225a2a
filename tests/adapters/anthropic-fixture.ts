/** A model against a fake upstream, and what a test asks of it. */
import { type AnthropicModel, createAnthropicModel } from '../../server/adapters/anthropic/anthropic-model.js';
import type { Logger } from '../../server/ports/logger.js';
import type { ModelEnd, ModelEvent, ModelRequest } from '../../server/ports/model.js';
import type { Upstream } from '../support/upstream/index.js';

export const API_KEY = 'sk-ant-test-0123456789';

/** Far above what a loopback needs: a test that waits for one sets it. */
export const PATIENT = { headers_timeout_ms: 10_000, first_content_timeout_ms: 10_000, silence_timeout_ms: 10_000 };

export class RecordingLogger implements Logger {
  readonly records: { message: string; fields: unknown }[] = [];
  readonly debug = (message: string, fields?: unknown): void => this.#keep(message, fields);
  readonly info = this.debug;
  readonly warn = this.debug;
  readonly error = this.debug;
  child(): Logger {
    return this;
  }
  #keep(message: string, fields: unknown): void {
    this.records.push({ message, fields });
  }
}

export const modelFor = (
  upstream: Pick<Upstream, 'baseURL'>,
  limits: Partial<typeof PATIENT> = {},
  logger: Logger = new RecordingLogger(),
): AnthropicModel =>
  createAnthropicModel({ apiKey: API_KEY, baseURL: upstream.baseURL, limits: { ...PATIENT, ...limits }, logger });

export const request = (over: Partial<ModelRequest> = {}): ModelRequest => ({
  model: 'claude-sonnet-5-5',
  maxTokens: 1_000,
  system: 'Be brief.',
  tools: [],
  toolChoice: undefined,
  messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
  sessionId: 'sesn_1',
  turnId: 'turn_1',
  step: 1,
  attempt: 1,
  ...over,
});

export interface Collected {
  readonly end: ModelEnd;
  readonly events: readonly ModelEvent[];
  readonly batches: readonly (readonly ModelEvent[])[];
}

export async function collect(
  model: AnthropicModel,
  over: Partial<ModelRequest> = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<Collected> {
  const batches: (readonly ModelEvent[])[] = [];
  const end = await model.stream(request(over), (batch) => batches.push(batch), signal);
  return { end, batches, events: batches.flat() };
}

export const textOf = (events: readonly ModelEvent[]): string =>
  events.map((event) => (event.type === 'text' ? event.text : '')).join('');
