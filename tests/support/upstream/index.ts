/** The fake upstream, as suites use it. */
export { type ManualReply, manualReply } from './manual-reply.js';
export { type ValidationOptions, validateRequest } from './messages-validator.js';
export type { Closing, RecordedRequest } from './recorded-request.js';
export {
  type MessageReply,
  type Packing,
  type Reply,
  type ReplyBlock,
  type StatusReply,
  type StreamFault,
  textReply,
} from './replies.js';
export { type ReplyHandler, startUpstream, type Upstream, type UpstreamOptions } from './upstream-server.js';
export type { WireEvent } from './wire-events.js';
