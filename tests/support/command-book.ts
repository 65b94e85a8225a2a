/** What the clients of one session sent and were told, over all their connections: the promises that a session must keep. */
import type { ClientFrameInput } from '../../protocol/index.js';
import type { Accepted, Reply } from './ws-recorder.js';

export interface BookedCommand {
  readonly command: ClientFrameInput;
  /** Names the connection that it was first sent on. */
  readonly connection: string;
  replies: readonly Reply[];
  sends: number;
}

/** Refusals after which only the same command tells what became of it. */
const isUnsure = (reply: Reply): boolean =>
  reply.type === 'command.rejected' && reply.error.details?.['outcome'] === 'unknown';

export class CommandBook {
  readonly #commands = new Map<string, BookedCommand>();

  get commands(): readonly BookedCommand[] {
    return [...this.#commands.values()];
  }

  sent(command: ClientFrameInput, connection: string): void {
    const known = this.#commands.get(command.id);
    if (known) known.sends += 1;
    else this.#commands.set(command.id, { command, connection, replies: [], sends: 1 });
  }

  answered(reply: Reply): void {
    const booked = this.#commands.get(reply.id);
    if (booked) booked.replies = [...booked.replies, reply];
  }

  /** In the order in which they were first sent. */
  unsure(ids: ReadonlySet<string>): readonly ClientFrameInput[] {
    return this.commands
      .filter(({ command, replies }) => ids.has(command.id) && replies.every(isUnsure))
      .map(({ command }) => command);
  }

  /** What is against CMD-2, CMD-3 and CMD-5, with the log as it is in the end. */
  violations(log: readonly LoggedEvent[]): readonly string[] {
    const bySeq = new Map(log.map((event) => [event.seq, event]));
    const effects = new Map<string, number>();
    for (const { command_id: id } of log) if (id !== undefined) effects.set(id, (effects.get(id) ?? 0) + 1);
    return [...this.commands.flatMap((booked) => effectOf(booked, effects, bySeq)), ...this.#disorder()];
  }

  /** Of one connection, what was sent later took effect later; what had to be sent again has lost its place. */
  #disorder(): readonly string[] {
    const last = new Map<string, { readonly id: string; readonly seq: number }>();
    return this.commands.flatMap(({ command, connection, replies, sends }) => {
      const seq = firstAcceptance(replies)?.applied_at_seq;
      if (seq === undefined || sends > 1 || !isLogged(command, replies)) return [];
      const before = last.get(connection);
      last.set(connection, { id: command.id, seq });
      return before && before.seq >= seq
        ? [`[CMD-5] ${command.id} took effect at ${seq}, ${before.id} before it at ${before.seq}`]
        : [];
    });
  }
}

export interface LoggedEvent {
  readonly type: string;
  readonly id: string;
  readonly seq: number;
  readonly processed_at: string;
  readonly turn_id?: string;
  readonly command_id?: string;
  readonly [field: string]: unknown;
}

const firstAcceptance = (replies: readonly Reply[]): Accepted | undefined =>
  replies.find((reply): reply is Accepted => reply.type === 'command.accepted');

/** Whether an accepted command has an event: not what says that the turn had ended (CAN-4), nor what is about connections. */
const isLogged = ({ type }: ClientFrameInput, replies: readonly Reply[]): boolean =>
  type.startsWith('user.') &&
  type !== 'user.tool_progress' &&
  firstAcceptance(replies)?.result?.outcome !== 'already_ended';

function effectOf(
  { command, replies, sends }: BookedCommand,
  effects: ReadonlyMap<string, number>,
  bySeq: ReadonlyMap<number, LoggedEvent>,
): readonly string[] {
  if (!command.type.startsWith('user.')) return [];
  const { id } = command;
  const count = effects.get(id) ?? 0;
  const accepted = replies.filter((reply): reply is Accepted => reply.type === 'command.accepted');
  const [first] = accepted;
  if (first === undefined)
    return count > 0 && replies.length > 0
      ? [`[CMD-3] ${id} was rejected, and took effect: ${JSON.stringify(replies.at(-1))}`]
      : [];
  const found: string[] = [];
  const rejected = replies.find((reply) => reply.type === 'command.rejected' && !isUnsure(reply));
  if (rejected && replies.indexOf(rejected) > replies.indexOf(first))
    found.push(`[CMD-2] ${id} was accepted, then rejected: ${JSON.stringify(rejected)}`);
  for (const again of accepted.slice(1)) {
    const isSame =
      again.duplicate === true &&
      again.applied_at_seq === first.applied_at_seq &&
      JSON.stringify(again.result) === JSON.stringify(first.result);
    if (!isSame) found.push(`[CMD-2] ${id} was answered in two ways: ${JSON.stringify([first, again])}`);
  }
  const expected = isLogged(command, replies) ? 1 : 0;
  if (count !== expected)
    found.push(`[CMD-2] ${id}, sent ${sends} times, took effect ${count} times: ${JSON.stringify(first)}`);
  else if (expected === 1 && bySeq.get(first.applied_at_seq ?? 0)?.command_id !== id)
    found.push(`[CMD-3] ${id} did not take effect at ${first.applied_at_seq}`);
  return found;
}
