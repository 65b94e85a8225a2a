/** The way to other nodes, with how long their answers take and how many don't come. */
import { type Inbox, InboxUnavailable } from '../../ports/inbox.js';
import type { Metrics } from '../../ports/metrics.js';
import type { NodeAnswer } from '../node-messages.js';
import type { Stopwatch } from './measured-deps.js';

export function measureInbox(inbox: Inbox, metrics: Metrics, now: Stopwatch): Inbox {
  return {
    nodeId: inbox.nodeId,
    renewMs: inbox.renewMs,
    async ask(nodeId, request, signal) {
      const askedAt = now();
      try {
        const answer = (await inbox.ask(nodeId, request, signal)) as NodeAnswer;
        metrics.asked(answer.ok === 'gone' ? 'moved' : 'answered', now() - askedAt);
        return answer;
      } catch (error) {
        metrics.asked(error instanceof InboxUnavailable ? 'unavailable' : 'moved', now() - askedAt);
        throw error;
      }
    },
    serve: (handler) => inbox.serve(handler),
    shout: (message) => inbox.shout(message),
    hear: (listener) => inbox.hear(listener),
    isAlive: (nodeId) => inbox.isAlive(nodeId),
  };
}
