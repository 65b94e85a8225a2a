/** How turns end, or go elsewhere, when this node goes down. */
import type { SessionState } from '../core/session-state.js';
import { type Clock, pause, type Timer } from '../ports/clock.js';
import type { Logger } from '../ports/logger.js';
import type { ActorRegistry } from './actor-registry.js';

export interface DrainDeps {
  readonly registry: ActorRegistry;
  readonly clock: Clock;
  readonly logger: Logger;
}

const POLL_MS = 20;
/** What a store that is away does not take in that time is left to the lease. */
const HAND_OVER_MS = 1_000;

const isRunning = ({ turn }: SessionState): boolean => turn !== undefined && turn.phase.name !== 'waiting';

/** What runs may end here until then; what doesn't run, and what is left, other nodes take up at once. */
export async function handOverAll({ registry, clock, logger }: DrainDeps, until: number): Promise<void> {
  for (;;) {
    const isOver = clock.now() >= until;
    const rest = registry.actors.filter(({ state }) => isOver || !isRunning(state));
    await within(clock, HAND_OVER_MS, Promise.all(rest.map(({ state }) => registry.yield(state.sessionId))));
    if (registry.size === 0) return;
    if (isOver) {
      logger.warn('sessions could not be handed over', { count: registry.size });
      return;
    }
    await pause(clock, POLL_MS);
  }
}

/** With one node: what runs may end until then, and is cut then, its partial kept. */
export async function cutAll({ registry, clock, logger }: DrainDeps, until: number): Promise<void> {
  const running = () => registry.actors.filter(({ state }) => isRunning(state));
  while (running().length > 0 && clock.now() < until) await pause(clock, POLL_MS);
  const cut = running();
  for (const actor of cut) actor.send({ type: 'cut' });
  await Promise.allSettled(cut.map((actor) => actor.flushed()));
  if (cut.length > 0) logger.warn('turns were cut at the drain deadline', { count: cut.length });
}

async function within(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<void>((resolve) => {
    timer = clock.schedule(ms, resolve);
  });
  await Promise.race([work, late]);
  timer?.cancel();
}
