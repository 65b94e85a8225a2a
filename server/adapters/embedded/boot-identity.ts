/** Which boot of the machine this is: after another boot, what was written but not synced may be gone (LOG-7). */
import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';

/** How far the computed time of boot may wander while the machine stays up: clocks are corrected. */
const TOLERANCE_MS = 10_000;

/** `id:<kernel's id>` where the kernel tells one, else `at:<milliseconds since 1970>`, the time of boot. */
export function readBootIdentity(): string {
  try {
    return `id:${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`;
  } catch {
    return `at:${Math.round(Date.now() - uptime() * 1_000)}`;
  }
}

export function isSameBoot(one: string, other: string): boolean {
  if (one === other) return true;
  if (!one.startsWith('at:') || !other.startsWith('at:')) return false;
  return Math.abs(Number(one.slice(3)) - Number(other.slice(3))) <= TOLERANCE_MS;
}
