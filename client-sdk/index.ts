/** The client of Midstream for browsers and Node. */
export { ERRORS, type ErrorBody, type ErrorCode, MidstreamError } from '../protocol/errors.js';
export type { SessionEvent } from '../protocol/events.js';
export type { Snapshot } from '../protocol/resources.js';
export type { ApprovalHandler, ApprovalRequest, Decision } from './approvals.js';
export { type ClientOptions, createClient, type MidstreamClient, type NewSession } from './client.js';
export type { Attached } from './feed.js';
export type { ConnectionStatus, TicketSource, TokenSource } from './link.js';
export type { InterruptOptions, PromptOptions, Session } from './session.js';
export type { ToolOutput, ToolResult } from './tool-output.js';
export type { ToolContext, ToolHandler, ToolRegistration } from './tools.js';
export { fold } from './transcript/fold.js';
export { fromSnapshot } from './transcript/from-snapshot.js';
export * from './transcript/transcript.js';
export type {
  CancelOptions,
  Cancelled,
  Steered,
  SteerOptions,
  Turn,
  TurnAccepted,
  TurnEnd,
  UserContent,
} from './turn.js';
export type { WebSocketConstructor, WebSocketLike } from './web-socket.js';
