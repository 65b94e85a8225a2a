/** Writes a reply's events to a response: packed, paced, split and broken as the reply says. */
import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import type { RecordedRequest } from './recorded-request.js';
import type { MessageReply, StreamFault } from './replies.js';
import { PING, toBytes, type WireEvent } from './wire-events.js';

export async function writeStream(
  reply: MessageReply,
  events: Iterable<WireEvent>,
  request: RecordedRequest,
  response: ServerResponse,
): Promise<void> {
  const out = new Packer(reply, request, response);
  let sent = 0;
  for (const event of events) {
    if (reply.hold?.afterEvents === sent) {
      await out.flush();
      await Promise.race([reply.hold.until, request.closed]);
    }
    const { fault } = reply;
    if (fault?.afterEvents === sent) {
      await out.flush();
      if ((await strike(fault, request, response)) === 'over') return;
    }
    if (request.closing !== undefined) return;
    await out.add(toBytes(event));
    sent += 1;
  }
  await out.flush();
  response.end();
}

async function strike(
  fault: StreamFault,
  request: RecordedRequest,
  response: ServerResponse,
): Promise<'over' | 'goes_on'> {
  switch (fault.type) {
    case 'hang':
      await hang(fault.pingEveryMs, request, response);
      return 'over';
    case 'cut':
      response.end();
      return 'over';
    case 'drop':
      request.closedByServer = true;
      response.socket?.end();
      return 'over';
    case 'reset':
      request.closedByServer = true;
      response.socket?.resetAndDestroy();
      return 'over';
    case 'error':
      response.end(toBytes({ type: 'error', error: fault.error }));
      return 'over';
    case 'malformed':
      response.write(`event: content_block_delta\ndata: ${fault.data ?? '{"type":"content_block_delta",'}\n\n`);
      return 'goes_on';
  }
}

async function hang(
  pingEveryMs: number | undefined,
  request: RecordedRequest,
  response: ServerResponse,
): Promise<void> {
  const timer = pingEveryMs === undefined ? undefined : setInterval(() => response.write(toBytes(PING)), pingEveryMs);
  await request.closed;
  clearInterval(timer);
}

/** Collects events into the writes that the reply's packing asks for. */
class Packer {
  readonly #reply: MessageReply;
  readonly #request: RecordedRequest;
  readonly #response: ServerResponse;
  readonly #startedAt = performance.now();
  #pending: Buffer[] = [];
  #writes = 0;

  constructor(reply: MessageReply, request: RecordedRequest, response: ServerResponse) {
    this.#reply = reply;
    this.#request = request;
    this.#response = response;
  }

  async add(bytes: Buffer): Promise<void> {
    this.#pending.push(bytes);
    const packing = this.#reply.packing ?? { eventsPerWrite: 1 };
    if (packing === 'one_write' || 'splitSeed' in packing) return;
    if (this.#pending.length >= packing.eventsPerWrite) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const bytes = Buffer.concat(this.#pending);
    this.#pending = [];
    const { packing } = this.#reply;
    if (packing === undefined || packing === 'one_write' || !('splitSeed' in packing)) {
      await this.#write(bytes);
      return;
    }
    for (const piece of splitBytes(bytes, packing.splitSeed)) await this.#write(piece);
  }

  /** One write, and the event loop's turn after it, so that the kernel sends it by itself. */
  async #write(bytes: Buffer): Promise<void> {
    const { pace } = this.#reply;
    const waitMs = pace === undefined ? 0 : this.#startedAt + this.#writes * pace.everyMs - performance.now();
    if (waitMs > 0) await delay(waitMs);
    if (this.#request.closing !== undefined) return;
    this.#writes += 1;
    if (this.#response.write(bytes)) {
      await nextTurn();
      return;
    }
    const drained = new Promise((resolve) => this.#response.once('drain', resolve));
    await Promise.race([drained, this.#request.closed]);
  }
}

/** Pieces of 1 to 40 bytes, the same for the same seed; now and then a larger one. */
export function* splitBytes(bytes: Buffer, seed: number): Generator<Buffer> {
  const random = seededRandom(seed);
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + Math.floor(random() * (random() < 0.1 ? 400 : 40));
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

/** Mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
