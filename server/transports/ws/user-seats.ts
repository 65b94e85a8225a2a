/** How many sockets each user has open on this node. */
import type { Principal } from '../../../protocol/index.js';

export class UserSeats {
  private readonly taken = new Map<string, number>();

  constructor(private readonly maxPerUser: number) {}

  /** Takes a seat; undefined where the user has all that one may have. Call what it returns to give it back. */
  take({ org_id, user_id }: Principal): (() => void) | undefined {
    const key = JSON.stringify([org_id, user_id]);
    const count = this.taken.get(key) ?? 0;
    if (count >= this.maxPerUser) return undefined;
    this.taken.set(key, count + 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const left = (this.taken.get(key) ?? 1) - 1;
      if (left === 0) this.taken.delete(key);
      else this.taken.set(key, left);
    };
  }
}
