/** What the upstream answers to clients of chaos: by the last word that they said, seeded, and now and then with a fault. */
import type { Random } from '../core/support/random.js';
import { PRIVATE } from './blackbox-server.js';
import type { MessageReply, RecordedRequest, Reply, ReplyBlock } from './upstream/index.js';

/** A prompt ends with one of them. */
export const WISHES = ['talk', 'search', 'edit', 'send', 'all'] as const;
/** Each request reports a prompt of another length, so that its usage names it wherever it is counted. */
const LEAST_INPUT_TOKENS = 1_000;

export const inputTokensOf = ({ number }: { readonly number: number }): number => LEAST_INPUT_TOKENS + number;

export interface ChaosModel {
  /** How often a request fails, 0 to 1. */
  faults: number;
  /** Milliseconds between two events of a stream, at most. */
  paceMs: number;
  /** What was answered to the request of this number. */
  readonly replies: ReadonlyMap<number, Reply>;
  answer(request: RecordedRequest): Reply;
}

export function createModel(random: Random): ChaosModel {
  const replies = new Map<number, Reply>();
  let calls = 0;
  const call = (name: string): ReplyBlock => ({ type: 'tool_use', id: `toolu_${++calls}`, name, input: { n: calls } });

  const speak = (request: RecordedRequest, paceMs: number): MessageReply => {
    const text: ReplyBlock = { type: 'text', text: `${PRIVATE} ${request.number} `.repeat(4 + random.int(30)) };
    const blocks = ((): readonly ReplyBlock[] => {
      switch (wishOf(request)) {
        case 'search':
          return [text, call('search_filings')];
        case 'edit':
          return [call('edit_document'), text];
        case 'send':
          return [text, call('send_mail')];
        case 'all':
          return [text, call('search_filings'), call('edit_document'), call('send_mail')];
        default:
          return [text];
      }
    })();
    return {
      blocks,
      pace: { everyMs: 1 + random.int(paceMs) },
      usage: { input_tokens: inputTokensOf(request), output_tokens: 2 + random.int(200) },
    };
  };

  const fail = (reply: MessageReply): Reply => {
    const afterEvents = 1 + random.int(20);
    switch (random.int(5)) {
      case 0:
        return { status: 529, body: { type: 'overloaded_error', message: 'Overloaded' } };
      case 1:
        return { ...reply, fault: { type: 'hang', afterEvents } };
      case 2:
        return { hang: 'before_headers' };
      case 3:
        return { ...reply, fault: { type: 'cut', afterEvents } };
      default:
        return { ...reply, fault: { type: 'reset', afterEvents } };
    }
  };

  return {
    faults: 0,
    paceMs: 30,
    replies,
    answer(request) {
      const spoken = speak(request, this.paceMs);
      const reply = random.chance(this.faults) ? fail(spoken) : spoken;
      replies.set(request.number, reply);
      return reply;
    },
  };
}

/** What the last message asks for; none where it has only results. */
function wishOf({ body }: RecordedRequest): string | undefined {
  const messages = body['messages'] as { readonly content: readonly { readonly text?: string }[] }[];
  const said = (messages.at(-1)?.content ?? []).map(({ text }) => text ?? '').join(' ');
  return WISHES.find((wish) => said.trimEnd().endsWith(wish));
}
