/** What became of every command that was sent, held against CMD-2, CMD-3, CMD-5, CAN-2 and CAN-4. */
import { isDeepStrictEqual } from 'node:util';
import { type LoggedEvent, MidstreamError, type TurnCommand } from '../../../protocol/index.js';
import type { Accepted } from '../../../server/session/session-api.js';
import type { Report } from './witness.js';

export interface Sent {
  readonly command: TurnCommand;
  times: number;
  underWay: number;
  answer?: Accepted;
  /** How often it was answered without `duplicate`. */
  firsts: number;
  /** The store failed under it, or the process died: it may have taken effect. */
  isUnknown: boolean;
  /** Which process it was sent to, and in which life of it. */
  readonly to: string;
}

export interface BookDeps {
  readonly report: Report;
  /** How many processes have the session: the answers of several may overtake each other. */
  readonly nodes: number;
  /** Whether the store has failed, so that commands may be refused for it. */
  readonly mayBeUnavailable: () => boolean;
  /** An interrupt of this turn was accepted. */
  readonly onInterrupted: (turnId: string) => void;
}

type EchoOf = LoggedEvent & { readonly command_id: string };

export class CommandBook {
  readonly #sent = new Map<string, Sent>();
  readonly #deps: BookDeps;
  readonly #lives = new Map<number, number>();
  /** By the life that they were sent to. */
  readonly #underWay = new Map<string, Sent[]>();

  constructor(deps: BookDeps) {
    this.#deps = deps;
  }

  get all(): readonly Sent[] {
    return [...this.#sent.values()];
  }

  /** Those that were accepted and have a place in the log. */
  get accepted(): readonly (Sent & { answer: Accepted })[] {
    return this.all.filter((sent): sent is Sent & { answer: Accepted } => sent.answer !== undefined);
  }

  /** Whether every command was answered. */
  get isQuiet(): boolean {
    return this.all.every(({ underWay }) => underWay === 0);
  }

  /** Notes commands that go out together, and what comes back for them. Never rejects. */
  async follow(node: number, commands: readonly TurnCommand[], answers: Promise<readonly Accepted[]>): Promise<void> {
    const to = this.#lifeOf(node);
    const sent = commands.map((command) => this.#send(command, to));
    const known = new Set(this.#deps.nodes === 1 ? sent : sent.filter(({ answer }) => answer));
    try {
      const accepted = await answers;
      if (to === this.#lifeOf(node))
        for (const [at, one] of sent.entries()) this.#accept(one, accepted[at] as Accepted);
    } catch (error) {
      if (to === this.#lifeOf(node)) for (const one of sent) this.#refuse(one, error, known);
    }
    if (to === this.#lifeOf(node)) for (const one of sent) this.#settle(one, to);
  }

  /** A command under a used id, with another body. */
  async followConflict(node: number, id: string, answer: Promise<unknown>): Promise<void> {
    const to = this.#lifeOf(node);
    const refused = await answer.then(
      () => 'accepted',
      (error: unknown) => (error instanceof MidstreamError ? error.code : String(error)),
    );
    const isRefused =
      refused === 'idempotency_conflict' || (refused === 'store_unavailable' && this.#deps.mayBeUnavailable());
    if (to === this.#lifeOf(node) && !isRefused) this.#deps.report(`[CMD-2] ${id} with another body: ${refused}`);
  }

  /** The process died: what was under way gets no answer. */
  endLife(node: number): void {
    const over = this.#lifeOf(node);
    this.#lives.set(node, (this.#lives.get(node) ?? 0) + 1);
    for (const sent of this.#underWay.get(over) ?? []) {
      sent.isUnknown = true;
      sent.underWay--;
    }
    this.#underWay.delete(over);
  }

  /** Holds what callers were told against what the log says in the end. */
  check(events: readonly LoggedEvent[]): void {
    const bySeq = new Map(events.map((event) => [event.seq, event]));
    const echoes = events.filter((event): event is EchoOf => 'command_id' in event && event.command_id !== undefined);
    const echoOf = new Map(echoes.map((echo) => [echo.command_id, echo]));
    for (const echo of echoes)
      if (echoOf.get(echo.command_id) !== echo) this.#deps.report(`[CMD-2] ${echo.command_id} took effect twice`);
    for (const sent of this.#sent.values()) this.#checkOne(sent, echoOf.get(sent.command.id), bySeq);
    this.#checkOrder(echoes);
  }

  #lifeOf(node: number): string {
    return `${node}:${this.#lives.get(node) ?? 0}`;
  }

  #settle(sent: Sent, to: string): void {
    sent.underWay--;
    const there = this.#underWay.get(to) ?? [];
    there.splice(there.indexOf(sent), 1);
  }

  #send(command: TurnCommand, to: string): Sent {
    const sent: Sent = this.#sent.get(command.id) ?? {
      command,
      times: 0,
      underWay: 0,
      firsts: 0,
      isUnknown: false,
      to,
    };
    this.#sent.set(command.id, sent);
    sent.times++;
    sent.underWay++;
    this.#underWay.set(to, [...(this.#underWay.get(to) ?? []), sent]);
    return sent;
  }

  #accept(sent: Sent, answer: Accepted): void {
    const { report, onInterrupted } = this.#deps;
    const { command } = sent;
    const { duplicate, ...told } = answer;
    if (!duplicate) sent.firsts++;
    if (sent.firsts > 1) report(`[CMD-2] ${command.id} was accepted as new twice`);
    if (sent.answer && !isDeepStrictEqual(told, sent.answer))
      report(`[CMD-2] ${command.id} was answered ${JSON.stringify(sent.answer)}, then ${JSON.stringify(told)}`);
    sent.answer ??= told;
    if (command.type !== 'user.interrupt') return;
    const { turn_id, outcome } = answer.result;
    if (outcome === 'cancelled' && turn_id !== undefined) onInterrupted(turn_id);
  }

  /** `known`: those that can't be refused if they were accepted, for that was before. */
  #refuse(sent: Sent, error: unknown, known: ReadonlySet<Sent>): void {
    const { report, mayBeUnavailable } = this.#deps;
    const { id, type } = sent.command;
    if (!(error instanceof MidstreamError) || error.code === 'internal') {
      report(`${type} ${id} failed: ${error instanceof Error ? error.stack : String(error)}`);
      return;
    }
    if (error.code === 'store_unavailable') {
      sent.isUnknown = true;
      if (!mayBeUnavailable()) report(`[CMD-3] ${type} ${id} was refused for a store that did not fail`);
      return;
    }
    if (sent.answer && known.has(sent)) report(`[CMD-2] ${type} ${id} was accepted, then refused with ${error.code}`);
    if (type === 'user.interrupt' && error.code === 'turn_not_found')
      report(`[CAN-1] ${JSON.stringify(sent.command)} was not found`);
  }

  #checkOne(sent: Sent, echo: EchoOf | undefined, bySeq: ReadonlyMap<number, LoggedEvent>): void {
    const { command, answer, isUnknown, underWay } = sent;
    const { report } = this.#deps;
    const name = `${command.type} ${command.id}`;
    if (!answer) {
      if (echo && !isUnknown && underWay === 0) report(`[CMD-3] ${name} was refused, and took effect at ${echo.seq}`);
      return;
    }
    if (command.type === 'user.interrupt' && answer.result.outcome === 'already_ended') {
      this.#checkAlreadyEnded(name, answer, echo, bySeq);
      return;
    }
    if (!echo || echo.seq !== answer.applied_at_seq)
      report(`[CMD-3] ${name} was accepted at ${answer.applied_at_seq}, and its echo is ${JSON.stringify(echo)}`);
    if (answer.result.turn_id !== undefined && echo?.turn_id !== answer.result.turn_id)
      report(`[CMD-3] ${name} was accepted for ${answer.result.turn_id}, and its echo is ${JSON.stringify(echo)}`);
  }

  #checkAlreadyEnded(
    name: string,
    { applied_at_seq, result }: Accepted,
    echo: EchoOf | undefined,
    bySeq: ReadonlyMap<number, LoggedEvent>,
  ): void {
    const { report } = this.#deps;
    if (echo) report(`[CAN-4] ${name} found its turn ended, and is in the log at ${echo.seq}`);
    if (result.turn_id === undefined) return;
    const end = bySeq.get(applied_at_seq ?? -1);
    if (end?.type !== 'turn.ended' || end.turn_id !== result.turn_id)
      report(`[CAN-4] ${name} was told the end of ${result.turn_id} at ${applied_at_seq}: ${JSON.stringify(end)}`);
  }

  /** Commands sent once, to one process, stand in the log as they were sent. */
  #checkOrder(echoes: readonly EchoOf[]): void {
    const places = new Map([...this.#sent.values()].map((sent, at) => [sent.command.id, { ...sent, at }]));
    const last = new Map<string, { readonly name: string; readonly at: number }>();
    for (const { command_id, seq } of echoes) {
      const sent = places.get(command_id);
      if (!sent || sent.times > 1) continue;
      const name = `${sent.command.type} ${command_id} at ${seq}${sent.isUnknown ? ', of unknown outcome,' : ''}`;
      const before = last.get(sent.to);
      if (before && sent.at < before.at)
        this.#deps.report(`[CMD-5] ${name} to ${sent.to} was overtaken by ${before.name}`);
      last.set(sent.to, { name, at: sent.at });
    }
  }
}
