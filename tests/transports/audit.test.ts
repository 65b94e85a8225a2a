/** What the wires put on record, and how the audit is asked for. */
import { once } from 'node:events';
import { request } from 'node:http';
import { FrameClient } from './support/frame-client.js';
import { startTransports, type Transports } from './support/start-transports.js';

let t: Transports;
afterEach(() => t.stop());

const ADDRESS = /127\.0\.0\.1$/;

describe('a credential that is missing or refused', () => {
  beforeEach(async () => {
    t = await startTransports({ auth: 'required' });
  });

  const refused = (rule: string) => ({
    kind: 'authentication',
    outcome: 'refused',
    rule,
    at: expect.stringMatching(/Z$/),
    client_address: expect.stringMatching(ADDRESS),
  });

  it('[AUTH-1] is one record for each request, with the id that its answer names', async () => {
    for (const credential of ['', 'Bearer bad-secret']) {
      const headers = { 'X-Request-Id': 'mine', ...(credential && { Authorization: credential }) };
      const response = await fetch(`${t.url}/v1/sessions`, { headers });
      expect(response.status).toBe(401);
    }
    const record = { ...refused('unauthenticated'), request_id: 'mine' };
    expect(t.audit.records).toEqual([record, record]);
    expect(JSON.stringify(t.audit.records)).not.toContain('bad-secret');
  });

  it('[AUTH-1] is one record for an upgrade, and for a first frame', async () => {
    await expect(FrameClient.connect(t.wsUrl, { headers: { Authorization: 'Bearer bad' } })).rejects.toThrow();
    const client = await FrameClient.connect(t.wsUrl);
    client.send({ type: 'connection.authenticate', id: 'a', token: 'bad' });
    await client.reply('a');
    const record = { ...refused('unauthenticated'), request_id: expect.any(String) };
    expect(t.audit.records).toEqual([record, record]);
  });

  it('[AUTH-2] is one record for a renewal', async () => {
    const client = await FrameClient.connect(t.wsUrl, { headers: { Authorization: 'Bearer alice:600' } });
    await client.ofType('connection.ready');
    client.send({ type: 'connection.authenticate', id: 'a', token: 'bad' });
    await client.reply('a');
    const whose = { user_id: 'alice', org_id: 'acme' };
    expect(t.audit.records).toEqual([{ ...refused('unauthenticated'), ...whose, request_id: expect.any(String) }]);
  });

  it('is none where it was taken, and none for another kind of refusal', async () => {
    const headers = { Authorization: 'Bearer alice' };
    expect((await fetch(`${t.url}/v1/sessions`, { headers })).status).toBe(200);
    expect((await fetch(`${t.url}/v1/sessions/sesn_none`, { headers })).status).toBe(404);
    expect(t.audit.records).toEqual([]);
  });
});

describe('GET /v1/audit', () => {
  beforeEach(async () => {
    t = await startTransports();
  });

  it('asks for a page with its filters', async () => {
    const query =
      'limit=5&page=p&user_id=eve&kind=denial&outcome=denied&since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z';
    const response = await fetch(`${t.url}/v1/audit?${query}`);
    expect(await response.json()).toEqual({ data: [], next_page: 'next' });
    expect(t.api.auditQueries).toEqual([
      {
        limit: 5,
        page: 'p',
        userId: 'eve',
        kind: 'denial',
        outcome: 'denied',
        since: Date.UTC(2026, 0, 1),
        until: Date.UTC(2026, 0, 2),
      },
    ]);
  });

  it.each(['kind=nonsense', 'outcome=fine', 'limit=0', 'limit=1001', 'since=yesterday'])(
    'refuses %s',
    async (query) => {
      const response = await fetch(`${t.url}/v1/audit?${query}`);
      expect(response.status).toBe(400);
      expect(t.api.auditQueries).toEqual([]);
    },
  );

  it('takes no other method', async () => {
    expect((await fetch(`${t.url}/v1/audit`, { method: 'DELETE' })).status).toBe(404);
  });
});

describe('POST /v1/tools/:name/call', () => {
  beforeEach(async () => {
    t = await startTransports();
  });

  it('[CAN-5] says when its client is gone, and not when it was answered', async () => {
    let signal: AbortSignal | undefined;
    let onCalled: () => void = () => {};
    const called = new Promise<void>((resolve) => {
      onCalled = resolve;
    });
    const call = () => request(`${t.url}/v1/tools/search/call`, { method: 'POST' });
    t.api.answerTool = async (_input, options) => {
      signal = options.signal;
      onCalled();
      return { content: [], is_error: false, outcome: 'ok', duration_ms: 0 };
    };
    const answered = call().end();
    const [response] = await once(answered, 'response');
    response.resume();
    await once(response, 'close');
    expect(signal?.aborted).toBe(false);

    t.api.answerTool = (_input, options) => {
      signal = options.signal;
      onCalled();
      return new Promise(() => {});
    };
    const again = new Promise<void>((resolve) => {
      onCalled = resolve;
    });
    await called;
    const cut = call().on('error', () => {});
    cut.end();
    await again;
    const aborted = once(signal as AbortSignal, 'abort');
    cut.destroy();
    await aborted;
  });
});
