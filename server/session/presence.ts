/**
 * Who is looking at a session and what they say of themselves; forgotten when their connection goes, or their node. Each
 * node tells the others of its own connections, as well as it can: nothing of it is in a log.
 */
import type { PresenceMember } from '../../protocol/index.js';
import type { Inbox } from '../ports/inbox.js';
import type { NodeWatch } from './node-watch.js';

export interface PresenceDeps {
  /** To be shown to who watches the session here. */
  readonly onChange: (sessionId: string, members: readonly PresenceMember[]) => void;
  /** Whether anybody may watch it here. */
  readonly isOpen: (sessionId: string) => boolean;
  /** Other nodes, where there are any. */
  readonly others?: { readonly inbox: Inbox; readonly watch: NodeWatch } | undefined;
}

type Message =
  | { readonly kind: 'presence'; readonly sessionId: string; readonly members: readonly PresenceMember[] }
  | { readonly kind: 'presence_asked'; readonly sessionId: string }
  | { readonly kind: 'presence_ended'; readonly sessionId: string; readonly userId: string };

export class Presence {
  readonly #deps: PresenceDeps;
  readonly #here = new Map<string, Map<string, PresenceMember>>();
  /** By session and node. */
  readonly #elsewhere = new Map<string, Map<string, readonly PresenceMember[]>>();

  constructor(deps: PresenceDeps) {
    this.#deps = deps;
    deps.others?.inbox.hear((message, from) => this.#hear(message as Message, from));
    deps.others?.watch.onDead((nodeId) => this.#forgetNode(nodeId));
  }

  set(sessionId: string, member: PresenceMember): void {
    const members = this.#here.get(sessionId) ?? new Map<string, PresenceMember>();
    this.#here.set(sessionId, members.set(member.connection_id, member));
    this.#changed(sessionId);
    this.#ask(sessionId);
  }

  /** Takes a connection out of one session. */
  remove(sessionId: string, connectionId: string): void {
    const members = this.#here.get(sessionId);
    if (!members?.delete(connectionId)) return;
    if (members.size === 0) this.#here.delete(sessionId);
    this.#changed(sessionId);
    this.#tidy(sessionId);
  }

  /** Takes a user out of one session, with all connections of all nodes. */
  removeUser(sessionId: string, userId: string): void {
    this.#removeHere(sessionId, userId);
    this.#shout({ kind: 'presence_ended', sessionId, userId });
  }

  #removeHere(sessionId: string, userId: string): void {
    for (const member of [...(this.#here.get(sessionId)?.values() ?? [])])
      if (member.user_id === userId) this.remove(sessionId, member.connection_id);
  }

  #changed(sessionId: string): void {
    this.#show(sessionId);
    this.#shout({ kind: 'presence', sessionId, members: [...(this.#here.get(sessionId)?.values() ?? [])] });
  }

  #show(sessionId: string): void {
    const elsewhere = [...(this.#elsewhere.get(sessionId)?.values() ?? [])].flat();
    this.#deps.onChange(sessionId, [...(this.#here.get(sessionId)?.values() ?? []), ...elsewhere]);
  }

  /** What others said before anybody here was there to hear it. */
  #ask(sessionId: string): void {
    if (!this.#deps.others || this.#elsewhere.has(sessionId)) return;
    this.#elsewhere.set(sessionId, new Map());
    this.#shout({ kind: 'presence_asked', sessionId });
  }

  #hear(message: Message, from: string): void {
    const { sessionId } = message;
    const here = this.#here.get(sessionId);
    if (message.kind === 'presence_ended') this.#removeHere(sessionId, message.userId);
    else if (message.kind === 'presence_asked') {
      if (here) this.#shout({ kind: 'presence', sessionId, members: [...here.values()] });
    } else if (!this.#deps.isOpen(sessionId)) this.#elsewhere.delete(sessionId);
    else {
      this.#ask(sessionId);
      const nodes = this.#elsewhere.get(sessionId);
      if (message.members.length > 0) nodes?.set(from, message.members);
      else nodes?.delete(from);
      this.#deps.others?.watch.add(from);
      this.#show(sessionId);
      this.#tidy(sessionId);
    }
  }

  #tidy(sessionId: string): void {
    if (!this.#here.has(sessionId) && this.#elsewhere.get(sessionId)?.size === 0) this.#elsewhere.delete(sessionId);
  }

  #forgetNode(nodeId: string): void {
    for (const [sessionId, nodes] of [...this.#elsewhere]) {
      if (!this.#deps.isOpen(sessionId)) this.#elsewhere.delete(sessionId);
      else if (nodes.delete(nodeId)) this.#show(sessionId);
    }
  }

  #shout(message: Message): void {
    this.#deps.others?.inbox.shout(message);
  }
}
