/** What every HTTP answer has, and what is refused before a route looks. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MidstreamError } from '../../protocol/index.js';
import { startTransports, type TransportOptions, type Transports } from './support/start-transports.js';

let t: Transports;
const start = async (options: TransportOptions = {}): Promise<void> => {
  t = await startTransports(options);
};
afterEach(() => t.stop());

/** `fetch` may not set Host, Origin and the like. */
function send(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<{ status: number; headers: Record<string, string | string[] | undefined>; body: string }> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port: t.port, method, path, headers }, (res) => {
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (chunk) => {
        text += chunk;
      });
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text }));
    });
    req.on('error', reject);
    req.end(body);
  });
}
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  send(
    'POST',
    path,
    { 'Content-Type': 'application/json', ...headers },
    typeof body === 'string' ? body : JSON.stringify(body),
  );
const codeOf = ({ body }: { body: string }): string => JSON.parse(body).error.code;

describe('every answer', () => {
  beforeEach(() => start());

  it('has an X-Request-Id: the caller’s where it is sane, else a new one', async () => {
    expect((await send('GET', '/health', { 'X-Request-Id': 'abc-1.2:3' })).headers['x-request-id']).toBe('abc-1.2:3');
    for (const bad of ['a b', 'x'.repeat(129), '<script>', ''])
      expect((await send('GET', '/nowhere', { 'X-Request-Id': bad })).headers['x-request-id']).toMatch(/^req_\d+$/);
  });

  it('an error is Anthropic’s envelope with our fields, and its request id', async () => {
    const answer = await send('GET', '/v1/sessions/none');
    expect(answer.status).toBe(404);
    expect(JSON.parse(answer.body)).toEqual({
      type: 'error',
      error: {
        type: 'not_found_error',
        code: 'session_not_found',
        message: expect.any(String),
        retryable: false,
      },
      request_id: answer.headers['x-request-id'],
    });
    expect(answer.headers['x-should-retry']).toBe('false');
  });

  it('a refusal that waits says how long, and leaves retrying to the client', async () => {
    t.api.dispatchBatch = async () => {
      throw new MidstreamError('budget_held', 'held', { retryAfterMs: 1_200, details: { index: 0 } });
    };
    const answer = await post('/v1/sessions/s/events', { events: [{ type: 'user.interrupt' }] });
    expect(answer.status).toBe(429);
    expect(answer.headers['retry-after']).toBe('2');
    expect(answer.headers['x-should-retry']).toBeUndefined();
    expect(JSON.parse(answer.body).error).toMatchObject({ retry_after_ms: 1_200, details: { index: 0 } });
  });

  it('a bug is a 500 that tells nothing, and a record in the log that tells all', async () => {
    t.api.getSession = async () => {
      throw new TypeError('secret detail');
    };
    const answer = await send('GET', '/v1/sessions/s');
    expect(answer.status).toBe(500);
    expect(answer.body).not.toContain('secret');
    expect(t.logger.records).toContainEqual(
      expect.objectContaining({
        level: 'error',
        fields: expect.objectContaining({ request_id: answer.headers['x-request-id'] }),
      }),
    );
  });

  it('has the security headers, and no trace of the framework', async () => {
    const { headers } = await send('GET', '/health');
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'cache-control': 'no-store',
    });
    expect(headers['x-powered-by']).toBeUndefined();
  });

  it.each([
    ['GET', '/nowhere'],
    ['GET', '/v1/nowhere'],
    ['POST', '/v1/tools/search'],
    ['PUT', '/v1/sessions'],
    ['PATCH', '/v1/sessions/s'],
    ['GET', '/v1/chat'],
    ['DELETE', '/chat'],
    ['POST', '/health'],
  ])('%s %s is not_found', async (method, path) => {
    const answer = await send(method, path);
    expect(answer.status).toBe(404);
    expect(codeOf(answer)).toBe('not_found');
  });

  it('another method of a known path says which it takes', async () => {
    const answer = await send('PUT', '/v1/sessions');
    expect(answer.headers['allow']).toBe('POST, GET');
    expect(JSON.parse(answer.body).error.message).toContain('POST and GET');
  });

  it('a plain GET of the WebSocket path says what it is for', async () => {
    expect(JSON.parse((await send('GET', '/v1/ws')).body).error.message).toContain('Upgrade: websocket');
  });

  it('a path that can’t be decoded is the client’s mistake', async () => {
    expect((await send('GET', '/v1/sessions/%E0%A4%A')).status).toBe(400);
  });
});

describe('bodies', () => {
  beforeEach(() => start({ limits: { frame_bytes: 2_000, frame_bytes_with_images: 20_000 } }));

  it.each([
    ['garbage', '{"a":', 'invalid_request'],
    ['a list', '[]', 'invalid_request'],
    ['a number', '1', 'invalid_request'],
    ['depth', `{"metadata":${'['.repeat(900)}${']'.repeat(900)}}`, 'invalid_request'],
    ['too much', `{"title":"${'x'.repeat(3_000)}"}`, 'payload_too_large'],
    ['far too much', `{"title":"${'x'.repeat(30_000)}"}`, 'payload_too_large'],
    ['an unknown field', '{"titel":"x"}', 'invalid_request'],
    ['a prototype key', '{"__proto__":{"title":"x"}}', 'invalid_request'],
  ])('%s is refused', async (_what, body, code) => {
    const answer = await post('/v1/sessions', body);
    expect(codeOf(answer)).toBe(code);
    expect(answer.status).toBe(code === 'payload_too_large' ? 413 : 400);
    expect(t.api.calls).toEqual([]);
  });

  it('an image may be larger than a text', async () => {
    const session = t.api.create();
    const source = { type: 'base64', media_type: 'image/png', data: 'A'.repeat(10_000) };
    const events = [{ type: 'user.message', content: [{ type: 'image', source }] }];
    expect((await post(`/v1/sessions/${session.id}/events`, { events })).status).toBe(200);
  });

  it('another content type, or an encoding, is refused with a sentence', async () => {
    expect(codeOf(await post('/v1/sessions', 'title=x', { 'Content-Type': 'application/x-www-form-urlencoded' }))).toBe(
      'invalid_request',
    );
    const answer = await post('/v1/sessions', 'zipped', { 'Content-Encoding': 'gzip' });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body).error.message).toContain('Content-Encoding');
  });
});

describe('who may ask', () => {
  it('[AUTH-4] in dev, Host must be a loopback name', async () => {
    await start();
    for (const host of ['127.0.0.1', 'localhost:3000', '[::1]:1'])
      expect((await send('GET', '/health', { Host: host })).status).toBe(200);
    for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost.evil', '10.0.0.1']) {
      const answer = await send('GET', '/health', { Host: host });
      expect([answer.status, codeOf(answer)]).toEqual([403, 'forbidden']);
    }
  });

  it('[AUTH-4] in dev, a foreign page is refused before anything happens', async () => {
    await start();
    const answer = await post('/v1/sessions', {}, { Origin: 'http://evil.example' });
    expect(answer.status).toBe(403);
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    expect(t.api.calls).toEqual([]);
    expect((await post('/v1/sessions', {}, { Origin: t.url })).status).toBe(201);
  });

  it('[AUTH-4] listed origins get CORS headers, others none', async () => {
    await start({ auth: 'required', origins: ['https://app.example'] });
    const listed = await send('GET', '/v1/sessions', { Origin: 'https://app.example', 'X-API-Key': 'alice' });
    expect(listed.headers).toMatchObject({ 'access-control-allow-origin': 'https://app.example', vary: 'Origin' });
    const preflight = await send('OPTIONS', '/v1/sessions', {
      Origin: 'https://app.example',
      'Access-Control-Request-Method': 'POST',
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers['access-control-allow-headers']).toContain('Idempotency-Key');
    const other = await send('OPTIONS', '/v1/sessions', {
      Origin: 'https://evil.example',
      'Access-Control-Request-Method': 'POST',
    });
    expect(other.status).toBe(401);
    expect(other.headers['access-control-allow-origin']).toBeUndefined();
  });

  it('[AUTH-1] no credential, no answer: 401 on every route but the probes', async () => {
    await start({ auth: 'required' });
    for (const path of ['/v1/sessions', '/v1/tools', '/v1/anything', '/conversation/x', '/chat']) {
      const answer = await send('GET', path);
      expect([path, answer.status]).toEqual([path, 401]);
      expect(answer.headers['www-authenticate']).toBe('Bearer');
    }
    for (const path of ['/health', '/ready']) expect((await send('GET', path)).status).toBe(200);
    expect((await send('GET', '/v1/sessions', { Authorization: 'Bearer bad' })).status).toBe(401);
    expect((await send('GET', '/v1/sessions', { 'X-API-Key': 'alice' })).status).toBe(200);
    expect((await send('GET', '/v1/sessions?token=alice')).status).toBe(401);
  });

  it('[AUTH-3] another’s session is not found', async () => {
    await start({ auth: 'required' });
    const { id } = t.api.create('alice');
    for (const path of ['', '/events', '/events/stream', '/messages'])
      expect(codeOf(await send('GET', `/v1/sessions/${id}${path}`, { 'X-API-Key': 'bob' }))).toBe('session_not_found');
    expect((await send('GET', `/v1/sessions/${id}`, { 'X-API-Key': 'alice' })).status).toBe(200);
  });
});

describe('probes', () => {
  it('health is alive, with the number of live sessions', async () => {
    await start();
    t.api.create();
    expect(JSON.parse((await send('GET', '/health')).body)).toEqual({
      status: 'healthy',
      timestamp: '2026-01-01T00:00:00.000Z',
      version: '1.2.3',
      active_sessions: 1,
    });
  });

  it('ready names each part, and is 503 where one is not', async () => {
    await start({ ready: { ok: false, checks: { store: { ok: false, detail: 'disk is full' } } } });
    const answer = await send('GET', '/ready');
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.body)).toEqual({
      status: 'not_ready',
      checks: { store: { ok: false, detail: 'disk is full' }, drain: { ok: true, detail: 'not draining' } },
    });
  });

  it('a draining server is not ready', async () => {
    await start();
    expect((await send('GET', '/ready')).status).toBe(200);
    t.api.draining = true;
    expect((await send('GET', '/ready')).status).toBe(503);
  });
});

describe('the page', () => {
  const directory = mkdtempSync(join(tmpdir(), 'page-'));
  writeFileSync(join(directory, 'index.html'), '<!doctype html><title>Midstream</title>');
  writeFileSync(join(directory, 'page.js'), 'export {}');
  writeFileSync(join(directory, 'client.js'), '/* client */');
  const page = { directory, clientScript: join(directory, 'client.js') };
  afterAll(() => rmSync(directory, { recursive: true }));

  it('is served in dev, with a policy that runs only its own files', async () => {
    await start({ page });
    const index = await send('GET', '/');
    expect(index.body).toContain('<title>Midstream</title>');
    expect(index.headers['content-type']).toContain('text/html');
    expect(index.headers['content-security-policy']).toMatch(/default-src 'none'; script-src 'self'/);
    expect(index.headers['content-security-policy']).not.toContain('unsafe');
    expect(index.headers['x-content-type-options']).toBe('nosniff');
    expect((await send('GET', '/midstream-client.js')).body).toBe('/* client */');
    expect((await send('GET', '/page.js')).headers['content-type']).toContain('javascript');
    expect((await send('GET', '/../../etc/passwd')).status).toBe(404);
    expect((await send('GET', '/%2e%2e/%2e%2e/etc/passwd')).status).toBeGreaterThanOrEqual(400);
  });

  it('is not there with authentication', async () => {
    await start({ page, auth: 'required' });
    expect((await send('GET', '/')).status).toBe(404);
    expect((await send('GET', '/midstream-client.js')).status).toBe(404);
  });
});
