/** What of a transcript a snapshot can tell as well: who said what, which tools came to what, what waits, what it cost. */
import type { Transcript } from '../../../client-sdk/index.js';

export function toView({ items, queue, turn, usage, costUsd, status, seq }: Transcript): Record<string, unknown> {
  const lines = items.flatMap((item): unknown[] => {
    switch (item.kind) {
      case 'user':
        return item.content.map(({ text }) => `user: ${text}`);
      case 'assistant':
        return item.content.map(({ text }) => `assistant: ${text}`);
      case 'tool':
        return [{ id: item.id, name: item.name, input: item.input, content: item.result?.content }];
      default:
        return [];
    }
  });
  const cents = Math.round(costUsd * 1e6);
  return {
    lines,
    queue: queue.map(({ turnId, position }) => ({ turnId, position })),
    turn: turn?.turnId,
    usage,
    cents,
    status,
    seq,
  };
}
