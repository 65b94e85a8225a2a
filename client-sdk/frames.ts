/** The server's frames as the client sees them: types only, nothing of the schemas is loaded. */
import type { SessionEvent } from '../protocol/events.js';
import type { ControlFrame } from '../protocol/frames.js';

export type ServerFrame = ControlFrame | SessionEvent;
export type ReadyFrame = Extract<ControlFrame, { type: 'connection.ready' }>;
export type ClosingFrame = Extract<ControlFrame, { type: 'connection.closing' }>;

/** Whether a frame is an event of some session's log: only those have a place in it. */
export const isSessionEvent = (frame: ServerFrame): frame is SessionEvent =>
  typeof (frame as { seq?: unknown }).seq === 'number' && typeof (frame as SessionEvent).session_id === 'string';

/** Reads a frame; `undefined` where the text is none. */
export function parseFrame(text: unknown): ServerFrame | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    const frame = JSON.parse(text) as { type?: unknown } | null;
    return typeof frame?.type === 'string' ? (frame as ServerFrame) : undefined;
  } catch {
    return undefined;
  }
}
