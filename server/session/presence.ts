/** Who is looking at a session and what they say of themselves; forgotten when their connection goes. */
import type { PresenceMember } from '../../protocol/index.js';

export class Presence {
  readonly #sessions = new Map<string, Map<string, PresenceMember>>();

  set(sessionId: string, member: PresenceMember): readonly PresenceMember[] {
    let members = this.#sessions.get(sessionId);
    if (!members) {
      members = new Map();
      this.#sessions.set(sessionId, members);
    }
    members.set(member.connection_id, member);
    return [...members.values()];
  }

  /** Takes a user out of one session, with all connections; undefined where they weren't there. */
  removeUser(sessionId: string, userId: string): readonly PresenceMember[] | undefined {
    const all = [...(this.#sessions.get(sessionId)?.values() ?? [])];
    const theirs = all.filter((member) => member.user_id === userId);
    for (const { connection_id } of theirs) this.remove(sessionId, connection_id);
    return theirs.length > 0 ? all.filter((member) => !theirs.includes(member)) : undefined;
  }

  /** Takes a connection out of one session; undefined where it wasn't there. */
  remove(sessionId: string, connectionId: string): readonly PresenceMember[] | undefined {
    const members = this.#sessions.get(sessionId);
    if (!members?.delete(connectionId)) return undefined;
    if (members.size === 0) this.#sessions.delete(sessionId);
    return [...members.values()];
  }
}
