/** A message that waits for the hold of its first request, and may be cut short by an interrupt. */
import type { SessionCommand } from '../../protocol/index.js';
import type { Effect } from '../core/transition.js';
import type { PricedHold } from './budget-gate.js';

export class HoldWait {
  hold: PricedHold | undefined;
  isCut = false;
  /** What the message would have asked for next, had nobody interrupted it; and for which turn. */
  readonly withheld: Effect[] = [];
  turnId: string | undefined;
  /** Resolves when it is cut. */
  readonly whenCut: Promise<undefined>;
  #cut: () => void = () => undefined;

  constructor(readonly commandId: string) {
    this.whenCut = new Promise((resolve) => {
      this.#cut = () => resolve(undefined);
    });
  }

  /** Keeps back what asks for a hold. */
  withhold(effects: readonly Effect[]): readonly Effect[] {
    return effects.filter((effect) => {
      if (effect.type !== 'reserve') return true;
      this.withheld.push(effect);
      this.turnId = effect.key.turnId;
      return false;
    });
  }

  cut(): void {
    this.isCut = true;
    this.#cut();
  }
}

/** An interrupt on its way: the commands that it names, and the one of them that was cut short for it. */
export interface Notice {
  readonly names: readonly string[];
  wait: HoldWait | undefined;
}

/** The message of a session that waits, and the interrupts that have not had their turn. */
export class HoldWaits {
  #waiting: HoldWait | undefined;
  readonly #notices = new Set<Notice>();

  /**
   * Tells the message that waits for its hold, or will, that it is interrupted: it goes on at once, and what it would
   * ask for is withheld until the interrupt has had its turn (CAN-1).
   */
  announce(commands: readonly SessionCommand[]): Notice {
    const names = commands.flatMap((c) => (c.type === 'user.interrupt' && c.command_id ? [c.command_id] : []));
    const notice: Notice = { names, wait: undefined };
    if (names.length === 0) return notice;
    this.#notices.add(notice);
    if (this.#waiting) cutIfNamed(this.#waiting, notice);
    return notice;
  }

  /** The interrupt had its turn. */
  withdraw(notice: Notice): void {
    this.#notices.delete(notice);
  }

  /** A message is about to ask for its hold; it is cut already where an interrupt waits for it. */
  begin(commandId: string): HoldWait {
    const wait = new HoldWait(commandId);
    for (const notice of this.#notices) cutIfNamed(wait, notice);
    return wait;
  }

  /** Resolves with what is waited for; undefined where the wait was cut. */
  async wait<T>(wait: HoldWait, awaited: Promise<T>): Promise<T | undefined> {
    this.#waiting = wait;
    try {
      return await Promise.race([awaited, wait.whenCut]);
    } finally {
      this.#waiting = undefined;
    }
  }
}

function cutIfNamed(wait: HoldWait, notice: Notice): void {
  if (!notice.names.includes(wait.commandId)) return;
  notice.wait = wait;
  wait.cut();
}
