/** Which connections have something in which sessions, also while that is still under way. */
export class OpenConnections {
  readonly #sessions = new Map<string, Set<string>>();

  /** Notes that a connection is about to join a session. The answer tells, later, whether it is still open. */
  join(connectionId: string, sessionId: string): () => boolean {
    let sessions = this.#sessions.get(connectionId);
    if (!sessions) {
      sessions = new Set();
      this.#sessions.set(connectionId, sessions);
    }
    sessions.add(sessionId);
    const joined = sessions;
    return () => this.#sessions.get(connectionId) === joined;
  }

  /** Forgets a connection; returns the sessions it had something in. */
  close(connectionId: string): Iterable<string> {
    const sessions = this.#sessions.get(connectionId) ?? [];
    this.#sessions.delete(connectionId);
    return sessions;
  }
}
