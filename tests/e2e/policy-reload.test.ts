/** The roles are read again while the server runs: whole or not at all, for what is decided from then on. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditRecord } from '../../protocol/index.js';
import type { FileConfigInput } from '../../server/config/index.js';
import { startTestServer, type TestServer } from '../../server/testing.js';
import { RecordingLogger } from '../transports/support/start-transports.js';
import { type BlackboxServer, startBlackbox } from '../support/blackbox-server.js';

const roles = (tools: object, inspect = true): FileConfigInput => ({
  roles: { admin: { tools, models: ['*'], inspect } },
});

async function auditOf(url: string, query = ''): Promise<AuditRecord[]> {
  const response = await fetch(`${url}/v1/audit${query}`);
  return ((await response.json()) as { data: AuditRecord[] }).data;
}

describe('in the process', () => {
  const ran: string[] = [];
  /** Runs inside the first call of a turn. */
  let between: () => void = () => {};
  let server: TestServer;
  const logger = new RecordingLogger();

  beforeEach(async () => {
    ran.length = 0;
    const tool = (name: string) => ({
      name,
      description: name,
      input_schema: { type: 'object' as const },
      run: async () => {
        ran.push(name);
        if (name === 'first') between();
        return 'done';
      },
    });
    server = await startTestServer({
      tools: [tool('first'), tool('second')],
      config: roles({ allow: ['*'] }),
      logger,
      script: {
        turns: [
          {
            steps: [
              { blocks: [{ type: 'tool_use', name: 'first' }] },
              { blocks: [{ type: 'tool_use', name: 'second' }] },
              { blocks: [{ type: 'text', text: 'Done.' }] },
            ],
          },
        ],
      },
    });
  });
  afterEach(() => server.stop());

  const chat = async () => {
    const response = await fetch(`${server.url}/v1/chat`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ message: 'Go.', stream: false }),
    });
    return (await response.json()) as { stop_reason: string; turn_id: string; conversation_id: string };
  };

  it('[TOOL-1] decides the second call of a turn by the roles that came after the first', async () => {
    between = () => expect(server.reload(roles({ allow: ['first'], deny: ['second'] }))).toBe(true);
    const { stop_reason, turn_id, conversation_id } = await chat();
    expect(stop_reason).toBe('end_turn');
    expect(ran).toEqual(['first']);
    const audit = await auditOf(server.url);
    expect(audit.filter((record) => record.turn_id === turn_id && record.kind === 'denial')).toMatchObject([
      { tool: 'second', rule: 'role admin: deny second' },
    ]);
    expect(audit.find(({ kind }) => kind === 'policy_change')).toMatchObject({
      outcome: 'applied',
      rule: 'roles: admin',
    });
    // What was offered was fixed when the turn began.
    const log = await fetch(`${server.url}/v1/sessions/${conversation_id}/events?types=turn.started`);
    expect(await log.json()).toMatchObject({ data: [{ tools: ['first', 'second'] }] });
  });

  it('changes nothing where the file has mistakes, and logs all of them', async () => {
    const broken = {
      roles: { admin: { tools: { deny: ['*'] }, models: ['*'], wrong: 1 } },
      limits: { running_turns: 0 },
    };
    expect(server.reload(broken as FileConfigInput)).toBe(false);
    const [line] = logger.records
      .filter(({ message }) => message.startsWith('the configuration has mistakes'))
      .slice(-1);
    expect(line?.fields?.['mistakes']).toHaveLength(2);
    between = () => {};
    await chat();
    expect(ran).toEqual(['first', 'second']);
    expect(await auditOf(server.url, '?kind=policy_change')).toMatchObject([
      { outcome: 'refused', rule: '2 mistakes in the configuration' },
    ]);
  });

  it('does not open the server where the roles are gone from the file', async () => {
    server.reload(roles({ allow: ['first'] }));
    expect(server.reload({})).toBe(false);
    await chat();
    expect(ran).toEqual(['first']);
  });

  it('takes the right to inspect as well', async () => {
    server.reload(roles({ allow: ['*'] }, false));
    const response = await fetch(`${server.url}/v1/audit`);
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ error: { code: 'forbidden' } });
  });
});

describe('SIGHUP to the program', () => {
  let server: BlackboxServer;
  const toolConfig = {
    name: 'ping',
    description: 'Pings.',
    input_schema: { type: 'object' as const },
    http: { url: 'http://127.0.0.1:9/ping' },
  };

  beforeAll(async () => {
    server = await startBlackbox({ config: { tools: [toolConfig], ...roles({ allow: ['ping'] }) } });
  });
  afterAll(() => server.dispose());

  const write = (text: string): void => writeFileSync(join(server.dataDir, 'midstream.config.json'), text);
  const toolsOf = async (): Promise<number> => {
    const response = await fetch(`${server.url}/v1/tools`);
    return ((await response.json()) as { data: unknown[] }).data.length;
  };
  /** Sends the signal and waits for what it came to. */
  const hangUp = async (): Promise<string> => {
    const before = (await auditOf(server.url, '?kind=policy_change')).length;
    process.kill(server.pid, 'SIGHUP');
    for (;;) {
      const audit = await auditOf(server.url, '?kind=policy_change');
      if (audit.length > before) return audit[0]?.outcome ?? '';
    }
  };

  it('reads the roles of the file again, and keeps them where the file is broken', async () => {
    expect(await toolsOf()).toBe(1);
    write(JSON.stringify({ tools: [toolConfig], ...roles({ deny: ['ping'] }) }));
    expect(await hangUp()).toBe('applied');
    expect(await toolsOf()).toBe(0);
    write('{ "roles": ');
    expect(await hangUp()).toBe('refused');
    expect(await toolsOf()).toBe(0);
    const lines = () => server.logs.filter((line) => line['msg'] === 'audit').map((line) => line['outcome']);
    while (lines().length < 2) await auditOf(server.url);
    expect(lines()).toEqual(['applied', 'refused']);
  });
});
