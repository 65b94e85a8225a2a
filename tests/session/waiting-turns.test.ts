/** A turn that waits for somebody goes on waiting in the next life of its server, and no longer than it would have. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Role } from '../../server/core/permissions.js';
import type { ModelEvent } from '../../server/ports/model.js';
import { FakeClock } from '../support/fake-clock.js';
import { say, startRoom, type TestRoom, usage } from './support.js';

const EXPIRES_MS = 600_000;
const server: Role = { tools: { allow: ['*'], ask: ['send'] }, models: ['*'], approve: ['*'] };

let t: TestRoom;
let dataDir: string;
let clock: FakeClock;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'midstream-waiting-'));
  clock = new FakeClock();
});
afterEach(async () => {
  await t.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const tool = { name: 'send', description: 'Sends', input_schema: { type: 'object' }, run: () => 'sent' };
const start = async (): Promise<void> => {
  t = await startRoom({ dataDir, clock, tools: [tool], policy: { admin: server } });
};
const calling = (name: string): readonly ModelEvent[] => [
  { type: 'message_start', usage },
  { type: 'block_start', index: 0, block: { type: 'tool_use', id: 'toolu_1', name, input: {} } },
  { type: 'block_stop', index: 0 },
  { type: 'message_delta', stopReason: 'tool_use', usage: { output_tokens: 9 } },
];

/** Up to the moment where the turn waits, and the server goes. */
async function waitAndStop(call: string): Promise<string> {
  const { id } = await t.create();
  const edit = { name: 'edit', description: 'Edits', input_schema: { type: 'object' }, timeout_ms: EXPIRES_MS };
  await t.send({ type: 'tools.register', session_id: id, tools: [edit] });
  const { sink } = await t.watch(id, { afterSeq: 0 });
  await t.send(say(id, 'go'));
  const request = await t.model.request(1);
  if (call === 'edit') t.room.api.connectionClosed('conn_1');
  request.stream(...calling(call));
  request.end();
  await sink.until(() => sink.has('turn.waiting'));
  await t.stop();
  return id;
}

describe('a turn that waits when its server goes', () => {
  it.each([
    ['an approver', 'send', 'denied'],
    ['a client that has the tool', 'edit', 'timeout'],
  ])('[TURN-1] [TOOL-7] waits on for %s, and goes on when that expires', async (_whom, call, outcome) => {
    await start();
    const id = await waitAndStop(call);
    await start();
    const { sink } = await t.watch(id, { afterSeq: 0 });
    await sink.until(() => sink.has('turn.waiting'));
    clock.advance(EXPIRES_MS - 1);
    expect(t.model.requests).toHaveLength(0);
    clock.advance(1);
    await sink.until(() => sink.has('agent.tool_result'));
    expect(sink.frames.find(({ type }) => type === 'agent.tool_result')).toMatchObject({ outcome });
    await t.model.request(1);
  });
});
