/** Waiting for what nothing tells: looked at again and again, for a bounded time. */
import { setTimeout as after } from 'node:timers/promises';

const EVERY_MS = 10;

/** Tries until it works; rejects as the last try did. */
export async function eventually<T>(work: () => T | Promise<T>, withinMs = 5_000): Promise<T> {
  for (const until = performance.now() + withinMs; ; ) {
    try {
      return await work();
    } catch (error) {
      if (performance.now() > until) throw error;
      await after(EVERY_MS);
    }
  }
}

/** Looks until there is something; rejects as a look does. */
export async function found<T>(
  what: string,
  look: () => Promise<T | undefined>,
  { withinMs = 10_000, everyMs = EVERY_MS }: { withinMs?: number; everyMs?: number } = {},
): Promise<T> {
  for (const until = performance.now() + withinMs; performance.now() < until; ) {
    const it = await look();
    if (it !== undefined) return it;
    await after(everyMs);
  }
  throw new Error(`${what} did not come to pass within ${withinMs} ms`);
}
