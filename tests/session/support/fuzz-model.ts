/** A model that makes up its replies, and holds every request against the rules of the Messages API (TURN-3). */
import type { Model, ModelEnd, ModelEvent, ModelRequest } from '../../../server/ports/model.js';
import { toRequestBody } from '../../../server/adapters/anthropic/request-body.js';
import type { Random } from '../../core/support/random.js';
import { validateRequest } from '../../support/upstream/index.js';
import { HandModel, type OpenRequest, usage } from '../support.js';
import { turns } from './event-loop.js';
import type { Witness } from './witness.js';

const MAX_BLOCKS = 4;
const MAX_WORDS = 50;
const FAILURES = ['upstream_overloaded', 'upstream_overloaded', 'upstream_truncated', 'upstream_refused'] as const;

export class FuzzModel extends HandModel implements Model {
  readonly #over = new Set<OpenRequest>();
  /** The head of the log when it was aborted. */
  readonly #abortedAt = new Map<OpenRequest, number>();
  readonly #orphans = new Set<OpenRequest>();
  readonly #replies = new Map<OpenRequest, ModelEvent[]>();
  #words = 0;
  #calls = 0;

  constructor(
    private readonly random: Random,
    private readonly witness: Witness,
  ) {
    super();
    this.closesLate = true;
  }

  /** The request that streams now. */
  get running(): OpenRequest | undefined {
    return this.requests.find((request) => !request.signal.aborted && !this.#over.has(request));
  }

  override stream(
    request: ModelRequest,
    onEvents: (events: readonly ModelEvent[]) => void,
    signal: AbortSignal,
  ): Promise<ModelEnd> {
    const problems = validateRequest(toRequestBody(request));
    if (problems.length > 0)
      this.witness.report(
        `[TURN-3] ${problems.join('; ')}: ${JSON.stringify(request.messages)} ${JSON.stringify(request)}`,
      );
    if (this.running)
      this.witness.report(`[TURN-1] ${request.turnId} asks while ${this.running.request.turnId} streams`);
    const done = super.stream(request, onEvents, signal);
    const opened = this.requests.at(-1) as OpenRequest;
    const over = done.finally(() => this.#over.add(opened));
    signal.addEventListener('abort', () => {
      this.#abortedAt.set(opened, this.witness.head);
      void turns(this.random.int(3)).then(() => opened.end({ type: 'aborted' }));
    });
    return over;
  }

  /** Streams some of the running reply, and ends it where that was all. */
  goOn(): void {
    const request = this.running;
    if (!request) return;
    let reply = this.#replies.get(request);
    if (!reply) {
      reply = this.#makeReply();
      this.#replies.set(request, reply);
    }
    request.stream(...reply.splice(0, 1 + this.random.int(40)));
    if (reply.length === 0) this.#end(request, { type: 'complete' });
    else if (this.random.chance(0.03)) this.#fail(request);
  }

  /** From here on nobody waits until the connections that are there now are closed. */
  orphan(): void {
    for (const request of this.requests) this.#orphans.add(request);
  }

  /** An interrupt of this turn was accepted at `seq` (CAN-2). */
  checkStopped(turnId: string, seq: number): void {
    const { report } = this.witness;
    for (const request of this.requests) {
      if (request.request.turnId !== turnId || this.#over.has(request)) continue;
      if (!request.signal.aborted) report(`[CAN-2] the request of ${turnId} was not aborted`);
      // What a steer aborted before is closing for the steer's own sender.
      else if (!this.#orphans.has(request) && (this.#abortedAt.get(request) ?? 0) >= seq)
        report(`[CAN-2] the connection of ${turnId} is still open`);
    }
  }

  #end(request: OpenRequest, end: ModelEnd): void {
    this.#over.add(request);
    request.end(end);
  }

  #fail(request: OpenRequest): void {
    const code = this.random.pick(FAILURES);
    const retryable = code === 'upstream_overloaded';
    this.#end(request, { type: 'failed', failure: { code, message: 'as the test wants it', retryable } });
  }

  #makeReply(): ModelEvent[] {
    const { random } = this;
    const events: ModelEvent[] = [{ type: 'message_start', usage }];
    let stopReason = random.pick(['end_turn', 'end_turn', 'end_turn', 'max_tokens', 'refusal']);
    const blocks = 1 + random.int(MAX_BLOCKS);
    for (let index = 0; index < blocks; index++) {
      const kind = random.pick(['text', 'text', 'text', 'thinking', 'call', 'call'] as const);
      if (kind === 'call') stopReason = 'tool_use';
      events.push(...this.#makeBlock(kind, index), { type: 'block_stop', index });
    }
    events.push({ type: 'message_delta', stopReason, usage: { output_tokens: 9 } });
    return events;
  }

  #makeBlock(kind: 'text' | 'thinking' | 'call', index: number): ModelEvent[] {
    const { random } = this;
    const words = Array.from({ length: random.int(MAX_WORDS) }, () => `w${++this.#words} `);
    switch (kind) {
      case 'text':
        return [
          { type: 'block_start', index, block: { type: 'text', text: '' } },
          ...words.map((text): ModelEvent => ({ type: 'text', index, text })),
        ];
      case 'thinking':
        return [
          { type: 'block_start', index, block: { type: 'thinking', thinking: '', signature: '' } },
          ...words.map((text): ModelEvent => ({ type: 'thinking', index, text })),
          { type: 'signature', index, signature: 'signed' },
        ];
      case 'call': {
        const id = `toolu_${++this.#calls}`;
        const name = random.pick(['search', 'edit', 'unheard_of']);
        return [
          { type: 'block_start', index, block: { type: 'tool_use', id, name, input: {} } },
          { type: 'input_json', index, json: '{"q":' },
          { type: 'input_json', index, json: `${this.#calls}}` },
        ];
      }
    }
  }
}
