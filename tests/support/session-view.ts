/** What is open in a session, folded from its events: turns without an end, calls without a result. */
import type { SessionEvent } from '../../protocol/index.js';

export interface OpenCall {
  readonly id: string;
  readonly turnId: string;
  readonly kind: 'confirmation' | 'tool_result';
  /** The connection that is to run it, where one was named. */
  readonly offeredTo?: string;
}

export class SessionView {
  readonly #calls = new Map<string, OpenCall>();
  readonly #turns = new Map<
    string,
    { readonly messageId: string | undefined; readonly commandId: string | undefined }
  >();
  /** Steers that have neither joined their turn nor become one. */
  readonly #steers = new Set<string>();

  get openCalls(): readonly OpenCall[] {
    return [...this.#calls.values()];
  }

  /** Turns that have not ended, as one may name them. */
  get openTurns(): readonly { turn_id: string; message_id?: string; command_id?: string }[] {
    return [...this.#turns].map(([turn_id, { messageId, commandId }]) => ({
      turn_id,
      ...(messageId && { message_id: messageId }),
      ...(commandId && { command_id: commandId }),
    }));
  }

  get isIdle(): boolean {
    return this.#turns.size === 0 && this.#steers.size === 0;
  }

  take(event: SessionEvent): void {
    const turnId = event.turn_id ?? '';
    switch (event.type) {
      case 'user.message':
        if (event.steer_id !== undefined) {
          this.#steers.add(event.steer_id);
          return;
        }
        this.#turns.set(turnId, { messageId: event.message_id, commandId: event.command_id });
        return;
      case 'turn.queued':
        if (event.steer_id !== undefined) this.#steers.delete(event.steer_id);
        if (!this.#turns.has(turnId)) this.#turns.set(turnId, { messageId: undefined, commandId: undefined });
        return;
      case 'user.steer':
        if (event.outcome === 'pending') this.#steers.add(event.steer_id);
        return;
      case 'user.interrupt':
        if (event.scope === 'turn_and_queue') this.#steers.clear();
        return;
      case 'steer.joined':
        this.#steers.delete(event.steer_id);
        return;
      case 'agent.custom_tool_use':
        this.#calls.set(event.id, { id: event.id, turnId, kind: 'tool_result' });
        return;
      case 'agent.tool_use':
        if (event.evaluated_permission === 'ask')
          this.#calls.set(event.id, { id: event.id, turnId, kind: 'confirmation' });
        return;
      case 'tool.offered':
        this.#calls.set(event.tool_use_id, {
          id: event.tool_use_id,
          turnId,
          kind: 'tool_result',
          offeredTo: event.connection_id,
        });
        return;
      case 'user.tool_confirmation':
      case 'agent.tool_result':
        this.#calls.delete(event.tool_use_id);
        return;
      case 'step.superseded':
        for (const id of event.discard_event_ids) this.#calls.delete(id);
        return;
      case 'turn.ended':
        this.#turns.delete(turnId);
        for (const call of this.#calls.values()) if (call.turnId === turnId) this.#calls.delete(call.id);
        return;
      default:
    }
  }
}
