import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { build } from 'esbuild';
import { manualReply, startUpstream, textReply, type Upstream } from '../support/upstream/index.js';

let upstream: Upstream;
let client: Anthropic;
const ask = {
  model: 'claude-sonnet-5-5',
  max_tokens: 100,
  messages: [{ role: 'user' as const, content: 'Hi' }],
};

beforeEach(async () => {
  upstream = await startUpstream();
  client = new Anthropic({ apiKey: 'k', baseURL: upstream.baseURL, maxRetries: 0 });
});

afterEach(() => upstream.close());

describe('the fake upstream, to the official SDK', () => {
  const blocks = [
    { type: 'thinking' as const, thinking: 'Hm, well.', signature: 'c2ln' },
    { type: 'text' as const, text: 'Hello there, Zürich.' },
    { type: 'tool_use' as const, id: 'toolu_1', name: 'search', input: { q: 'x', n: [1, 2] } },
  ];

  it.each(['/v1/messages', '/v1/messages?beta=true'])('streams a whole message at %s', async (path) => {
    upstream.script([{ blocks, usage: { output_tokens: 42 } }]);
    const own = client.withOptions({ defaultQuery: path.includes('?') ? { beta: 'true' } : {} });
    const message = await own.messages.stream(ask).finalMessage();
    expect(message.content).toEqual(blocks);
    expect(message.stop_reason).toBe('tool_use');
    expect(message.usage.output_tokens).toBe(42);
    expect(upstream.requests[0]?.path).toBe(path);
    expect(upstream.violations).toEqual([]);
  });

  it('answers without a stream, and counts tokens', async () => {
    upstream.script([{ blocks }]);
    expect((await client.messages.create(ask)).content).toEqual(blocks);
    const { model, messages } = ask;
    expect((await client.messages.countTokens({ model, messages })).input_tokens).toBeGreaterThan(0);
    expect(upstream.violations).toEqual([]);
  });

  it('refuses what breaks a rule in Anthropic’s envelope, and remembers it', async () => {
    const call = client.messages.create({ ...ask, temperature: 1 } as never);
    await expect(call).rejects.toMatchObject({ status: 400, type: 'invalid_request_error', requestID: 'req_1' });
    expect(upstream.violations).toEqual(['request 1: temperature: no longer supported']);
  });

  it('refuses a request without a key, and one for another path', async () => {
    const response = await fetch(`${upstream.baseURL}/v1/messages`, { method: 'POST', body: '{}' });
    expect(response.status).toBe(401);
    expect((await fetch(`${upstream.baseURL}/v1/nothing`)).status).toBe(404);
    expect(upstream.violations).toHaveLength(2);
  });

  it('remembers a request that was not scripted', async () => {
    upstream.script([]);
    await expect(client.messages.create(ask)).rejects.toMatchObject({ status: 500 });
    expect(upstream.violations).toEqual(['request 1: no reply was scripted for it']);
  });

  it('tells who closed a connection', async () => {
    const finished = await client.messages
      .stream(ask)
      .finalMessage()
      .then(() => upstream.requests[0]?.closed);
    expect(finished?.by).toBe('finished');
    upstream.script([{ ...textReply('a b'), fault: { type: 'reset', afterEvents: 3 } }]);
    await client.messages
      .stream(ask)
      .finalMessage()
      .catch(() => {});
    expect((await upstream.requests[1]?.closed)?.by).toBe('server');
    const reply = manualReply();
    upstream.script([reply]);
    const stream = client.messages.stream(ask);
    stream.on('abort', () => {});
    const sent = await reply.waitForRequest();
    stream.abort();
    await stream.done().catch(() => {});
    expect((await sent.closed).by).toBe('client');
  });

  it('holds a reply until it is let go', async () => {
    let go: () => void = () => {};
    const until = new Promise<void>((resolve) => {
      go = resolve;
    });
    upstream.script([{ blocks: [{ type: 'text', text: 'a b' }], hold: { afterEvents: 4, until } }]);
    const seen: string[] = [];
    const stream = client.messages.stream(ask);
    const first = new Promise((resolve) => stream.once('text', resolve));
    stream.on('text', (text) => seen.push(text));
    await first;
    expect(seen).toEqual(['a']);
    go();
    expect(await stream.finalText()).toBe('a b');
  });
});

describe('the fake upstream as a process', () => {
  it('prints its port, answers as configured, and takes replies and questions over HTTP', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'upstream-'));
    const outfile = join(folder, 'upstream.mjs');
    const entry = join(__dirname, '../support/upstream/main.ts');
    await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'esm', logLevel: 'silent' });
    const child = spawn(process.execPath, [
      outfile,
      JSON.stringify({ replies: [textReply('first')], repeat: textReply('then') }),
    ]);
    try {
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      const baseURL = `http://127.0.0.1:${line.toString().trim()}`;
      const own = new Anthropic({ apiKey: 'k', baseURL, maxRetries: 0 });
      const said = async (): Promise<string> => own.messages.stream(ask).finalText();
      expect([await said(), await said(), await said()]).toEqual(['first', 'then', 'then']);
      await fetch(`${baseURL}/__upstream/script`, { method: 'POST', body: JSON.stringify([textReply('scripted')]) });
      expect(await said()).toBe('scripted');
      const state = (await (await fetch(`${baseURL}/__upstream/state`)).json()) as Record<string, unknown[]>;
      expect(state['requests']).toHaveLength(4);
      expect(state['violations']).toEqual([]);
    } finally {
      child.kill();
      await once(child, 'exit');
      await rm(folder, { recursive: true });
    }
  });
});
