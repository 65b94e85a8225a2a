/** Counting the tokens of a request, over real sockets. */
import type { AnthropicModel } from '../../server/adapters/anthropic/index.js';
import { createAnthropicModel } from '../../server/adapters/anthropic/index.js';
import { startUpstream, type Upstream } from '../support/upstream/index.js';
import { API_KEY, collect, modelFor, PATIENT, RecordingLogger, request } from './anthropic-fixture.js';

let upstream: Upstream;
let model: AnthropicModel;
beforeEach(async () => {
  upstream = await startUpstream();
  model = modelFor(upstream);
});
afterEach(async () => {
  await model.close();
  await upstream.close();
});
const never = new AbortController().signal;
const tools = [{ name: 'look', description: 'Looks', input_schema: { type: 'object' } }];

it('counts the very request that is sent, without its bound', async () => {
  upstream.scriptCounts(() => 77);
  const over = { tools, toolChoice: { type: 'auto' } } as const;
  expect(await model.countTokens?.(request(over), never)).toBe(77);
  await collect(model, over);
  const [counted, sent] = upstream.requests;
  expect(counted?.path).toBe('/v1/messages/count_tokens');
  expect(sent?.path).toBe('/v1/messages');
  const { max_tokens, stream, ...rest } = sent?.body ?? {};
  expect([max_tokens, stream]).toEqual([1_000, true]);
  expect(counted?.body).toEqual(rest);
  expect(upstream.violations).toEqual([]);
});

it('rejects what the API refuses, and what is no count', async () => {
  upstream.scriptCounts(() => ({ status: 429, body: { type: 'rate_limit_error', message: 'too many counts' } }));
  await expect(model.countTokens?.(request(), never)).rejects.toMatchObject({ status: 429 });
  upstream.scriptCounts(() => -1);
  await expect(model.countTokens?.(request(), never)).rejects.toThrow('no input_tokens');
  upstream.scriptCounts(() => ({ status: 200, headers: { 'content-type': 'application/json' }, body: 'null' }));
  await expect(model.countTokens?.(request(), never)).rejects.toThrow('no input_tokens');
  // A count that was refused says nothing about the key.
  expect(model.status().ok).toBe(true);
});

it('closes its connection when it is given up', async () => {
  upstream.scriptCounts(() => ({ hang: 'before_headers' }));
  const abort = new AbortController();
  const counting = model.countTokens?.(request(), abort.signal);
  const { closed } = await upstream.waitForRequest(1);
  abort.abort();
  await expect(counting).rejects.toThrow();
  expect((await closed).by).toBe('client');
});

it('gives up by itself', async () => {
  upstream.scriptCounts(() => ({ hang: 'before_headers' }));
  const parts = { apiKey: API_KEY, baseURL: upstream.baseURL, limits: PATIENT, logger: new RecordingLogger() };
  const hasty = createAnthropicModel({ ...parts, countTimeoutMs: 20 });
  await expect(hasty.countTokens?.(request(), never)).rejects.toThrow();
  await hasty.close();
});
