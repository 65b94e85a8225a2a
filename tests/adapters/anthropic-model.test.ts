import type { AnthropicModel } from '../../server/adapters/anthropic/anthropic-model.js';
import type { ModelEvent } from '../../server/ports/model.js';
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';
import { API_KEY, collect, modelFor, RecordingLogger, request, textOf } from './anthropic-fixture.js';

let upstream: Upstream;
let model: AnthropicModel;

beforeEach(async () => {
  upstream = await startUpstream({ apiKey: API_KEY });
  model = modelFor(upstream);
});

afterEach(async () => {
  expect(upstream.violations).toEqual([]);
  await model.close();
  await upstream.close();
});

describe('a reply', () => {
  it('arrives as the port’s events, in order, and ends complete', async () => {
    upstream.script([
      {
        blocks: [
          { type: 'thinking', thinking: 'Let me see.', signature: 'c2ln' },
          { type: 'text', text: 'Zürich 🚲', chunks: ['Zür', 'ich ', '🚲'] },
          { type: 'tool_use', id: 'toolu_1', name: 'search', input: { q: 'x' }, chunks: 2 },
        ],
        usage: { input_tokens: 7, output_tokens: 21, cache_read_input_tokens: 3 },
      },
    ]);
    const { end, events } = await collect(model);
    expect(end).toEqual({ type: 'complete' });
    expect(events).toEqual([
      {
        type: 'message_start',
        usage: { input_tokens: 7, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 3 },
      },
      { type: 'block_start', index: 0, block: { type: 'thinking', thinking: '', signature: '' } },
      { type: 'thinking', index: 0, text: 'Let' },
      { type: 'thinking', index: 0, text: ' me' },
      { type: 'thinking', index: 0, text: ' see.' },
      { type: 'signature', index: 0, signature: 'c2ln' },
      { type: 'block_stop', index: 0 },
      { type: 'block_start', index: 1, block: { type: 'text', text: '' } },
      { type: 'text', index: 1, text: 'Zür' },
      { type: 'text', index: 1, text: 'ich ' },
      { type: 'text', index: 1, text: '🚲' },
      { type: 'block_stop', index: 1 },
      { type: 'block_start', index: 2, block: { type: 'tool_use', id: 'toolu_1', name: 'search', input: {} } },
      { type: 'input_json', index: 2, json: '{"q":' },
      { type: 'input_json', index: 2, json: '"x"}' },
      { type: 'block_stop', index: 2 },
      { type: 'message_delta', stopReason: 'tool_use', usage: { output_tokens: 21 } },
    ]);
  });

  it('keeps unknown blocks as they came, and leaves out unknown events and deltas', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    const running = collect(model);
    await reply.start();
    const block = { type: 'hologram_use', id: 'h_1', input: {}, shape: { sides: 4 } };
    reply.send({ type: 'content_block_start', index: 0, content_block: block });
    reply.send({ type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json: '{}' } });
    reply.send({ type: 'content_block_delta', index: 0, delta: { type: 'hologram_delta', light: 1 } });
    reply.send({ type: 'weather_report', sky: 'blue' });
    reply.closeBlock();
    reply.openText(1);
    const citation = { type: 'char_location', cited_text: 'x' };
    reply.send({ type: 'content_block_delta', index: 1, delta: { type: 'citations_delta', citation } });
    reply.closeBlock(1);
    reply.finish('pause_turn');
    const { end, events } = await running;
    expect(end).toEqual({ type: 'complete' });
    expect(events.slice(1)).toEqual([
      { type: 'block_start', index: 0, block },
      { type: 'input_json', index: 0, json: '{}' },
      { type: 'block_stop', index: 0 },
      { type: 'block_start', index: 1, block: { type: 'text', text: '' } },
      { type: 'citation', index: 1, citation },
      { type: 'block_stop', index: 1 },
      { type: 'message_delta', stopReason: 'pause_turn', usage: { output_tokens: 10 } },
    ]);
  });

  it('hands over one batch per chunk of the network', async () => {
    upstream.script([{ blocks: [{ type: 'text', text: 'a b c d e f' }], packing: 'one_write' }]);
    const { batches, events } = await collect(model);
    expect(events).toHaveLength(10);
    expect(batches).toHaveLength(1);
  });

  it('leaves its connection to later requests', async () => {
    upstream.script(() => textReply('Hello.'));
    for (let n = 0; n < 12; n += 1) expect((await collect(model)).end.type).toBe('complete');
    // The pool lets a connection rest for one turn of the event loop before it is used again, so two take turns.
    expect(upstream.openSockets).toBeLessThanOrEqual(2);
  });

  it('is complete at message_stop even where the server keeps the body open', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    const running = collect(model);
    await reply.start();
    reply.send({ type: 'message_stop' });
    expect((await running).end).toEqual({ type: 'complete' });
    expect((await reply.closed).by).toBe('client');
  });

  it('is complete at message_stop even where the connection is reset behind it', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    let running: Promise<unknown> | undefined;
    const stopped = new Promise<void>((resolve) => {
      const onEvents = (batch: readonly ModelEvent[]): void => {
        if (batch.some((event) => event.type === 'message_delta')) resolve();
      };
      running = model.stream(request(), onEvents, new AbortController().signal);
    });
    await reply.start();
    // One write, so that message_stop was read when the other was.
    const delta = '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}';
    reply.sendRaw(`data: ${delta}\n\ndata: {"type":"message_stop"}\n\n`);
    await stopped;
    reply.reset();
    expect(await running).toEqual({ type: 'complete' });
  });
});

describe('an abort', () => {
  it('[CAN-2] closes the upstream connection before it resolves, and nothing comes after it', async () => {
    const reply = manualReply();
    upstream.script([reply]);
    const abort = new AbortController();
    let seen = 0;
    const firstText = new Promise<void>((resolve) => {
      const running = model.stream(
        request(),
        (batch) => {
          seen += batch.length;
          if (batch.some((event) => event.type === 'text')) resolve();
        },
        abort.signal,
      );
      void running.then((end) => ends.push(end));
    });
    const ends: unknown[] = [];
    await reply.start();
    reply.openText();
    reply.text('one');
    await firstText;
    reply.text('two');
    const seenBefore = seen;
    const at = performance.now();
    abort.abort();
    const closing = await reply.closed;
    expect(closing.by).toBe('client');
    expect(closing.at - at).toBeLessThan(1_000);
    await upstream.waitForNoSockets();
    expect(ends).toEqual([{ type: 'aborted' }]);
    expect(seen).toBe(seenBefore);
  });

  it('[CAN-1] works before the response headers came', async () => {
    upstream.script([{ hang: 'before_headers' }]);
    const abort = new AbortController();
    const running = collect(model, {}, abort.signal);
    const sent = await upstream.waitForRequest(1);
    abort.abort();
    expect((await running).end).toEqual({ type: 'aborted' });
    expect((await sent.closed).by).toBe('client');
  });

  it('[CAN-1] works before anything was sent', async () => {
    const abort = new AbortController();
    const running = collect(model, {}, abort.signal);
    abort.abort();
    expect((await running).end).toEqual({ type: 'aborted' });
    expect((await collect(model, {}, abort.signal)).end).toEqual({ type: 'aborted' });
    // The one request that goes out is a later one.
    expect((await collect(model)).end).toEqual({ type: 'complete' });
    expect(upstream.requests).toHaveLength(1);
  });

  it('may come from within the consumer', async () => {
    upstream.script([{ blocks: [{ type: 'text', text: 'a b c d' }], packing: { eventsPerWrite: 3 } }]);
    const abort = new AbortController();
    let batches = 0;
    const end = await model.stream(
      request(),
      () => {
        batches += 1;
        abort.abort();
      },
      abort.signal,
    );
    expect(end).toEqual({ type: 'aborted' });
    expect(batches).toBe(1);
    expect((await upstream.requests[0]?.closed)?.by).toBe('client');
  });

  it('leaves no listener on a signal that outlives the request', async () => {
    const abort = new AbortController();
    let listeners = 0;
    const { signal } = abort;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    Object.assign(signal, {
      addEventListener: (...args: Parameters<typeof add>) => {
        listeners += 1;
        add(...args);
      },
      removeEventListener: (...args: Parameters<typeof remove>) => {
        listeners -= 1;
        remove(...args);
      },
    });
    await collect(model, {}, signal);
    await collect(model, {}, signal);
    expect(listeners).toBe(0);
  });
});

describe('a consumer that throws', () => {
  it('ends the stream, closes the connection, and throws nothing back', async () => {
    const end = await model.stream(
      request(),
      () => {
        throw new Error('broken consumer');
      },
      new AbortController().signal,
    );
    expect(end).toMatchObject({ type: 'failed', failure: { code: 'internal', retryable: false } });
    await upstream.waitForNoSockets();
  });
});

describe('the surroundings', () => {
  const environment: Record<string, string> = {
    ANTHROPIC_API_KEY: 'sk-from-env',
    ANTHROPIC_AUTH_TOKEN: 'token-from-env',
    ANTHROPIC_BASE_URL: 'http://127.0.0.1:1',
    ANTHROPIC_LOG: 'debug',
    ANTHROPIC_CUSTOM_HEADERS: 'x-from-env: yes\nanthropic-version: 2001-01-01',
    ANTHROPIC_BETAS: 'beta-from-env',
    HTTP_PROXY: 'http://127.0.0.1:1',
    http_proxy: 'http://127.0.0.1:1',
  };

  it('take nothing from the environment, and write nothing to the console', async () => {
    const before = { ...process.env };
    const written: string[] = [];
    const spies = [process.stdout, process.stderr].map((stream) =>
      jest.spyOn(stream, 'write').mockImplementation((text) => {
        written.push(String(text));
        return true;
      }),
    );
    for (const name of ['log', 'info', 'warn', 'error', 'debug'] as const) {
      spies.push(jest.spyOn(console, name).mockImplementation((...args) => void written.push(args.join(' '))) as never);
    }
    Object.assign(process.env, environment);
    try {
      const own = modelFor(upstream);
      upstream.script([textReply('Hi.'), { status: 400, body: { type: 'invalid_request_error', message: 'no' } }]);
      // A model with an announced end of life: the SDK's own method would warn about it.
      expect((await collect(own, { model: 'claude-sonnet-4-5' })).end.type).toBe('complete');
      await collect(own);
      await own.close();
    } finally {
      process.env = before;
      for (const spy of spies) spy.mockRestore();
    }
    expect(written).toEqual([]);
    const headers: Record<string, unknown> = upstream.requests[0]?.headers ?? {};
    expect(headers['authorization']).toBe(`Bearer ${API_KEY}`);
    expect(headers['anthropic-version']).toBe('2026-10-21');
    expect(JSON.stringify(headers)).not.toContain('from-env');
  });

  it('never show the key: not in a failure, not in the log', async () => {
    const logger = new RecordingLogger();
    const wrong = await startUpstream({ apiKey: 'another' });
    const refused = modelFor(wrong, {}, logger);
    const { end } = await collect(refused);
    expect(end).toMatchObject({ type: 'failed', failure: { code: 'upstream_auth', retryable: false } });
    expect(end.type === 'failed' && end.failure.message).toContain('[secret]');
    expect(JSON.stringify([end, logger.records])).not.toContain(API_KEY);
    expect(logger.records).toHaveLength(1);
    await refused.close();
    await wrong.close();
  });

  it('say in status() whether the last answer refused the key', async () => {
    expect(model.status().ok).toBe(true);
    upstream.script([
      { status: 401, body: { type: 'authentication_error', message: 'invalid key' } },
      { status: 403, body: { type: 'permission_error', message: 'not this model' } },
      { status: 401, body: { type: 'authentication_error', message: 'invalid key' } },
      textReply('Hi.'),
    ]);
    await collect(model);
    expect(model.status().ok).toBe(false);
    await collect(model);
    expect(model.status().ok).toBe(true);
    await collect(model);
    expect(model.status().ok).toBe(false);
    await collect(model);
    expect(model.status().ok).toBe(true);
  });
});

describe('streams side by side', () => {
  it('do not mix', async () => {
    upstream.script((req) => textReply(JSON.stringify(req.body['system'])));
    const all = await Promise.all(Array.from({ length: 40 }, (_, n) => collect(model, { system: `number ${n}.` })));
    all.forEach(({ events }, n) => {
      expect(textOf(events)).toContain(`number ${n}.`);
    });
  });
});
