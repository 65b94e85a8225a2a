/** A message that waits for the hold of its first request, and may be cut short by an interrupt. */
import type { Effect } from '../core/transition.js';
import type { Hold } from '../ports/ledger.js';

export class HoldWait {
  hold: Hold | undefined;
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
