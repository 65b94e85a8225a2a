/** A WebSocket that says `connection.closing` before it closes, also where `ws` itself closes it (an oversized frame). */
import { WebSocket } from 'ws';
import { CLOSE, type ControlFrame, isReconnectable } from '../../../protocol/index.js';

/** What `ws` closes with by itself: broken framing, text that is not UTF-8, too many fragments, a frame too large. */
const REASONS: Readonly<Record<number, string>> = {
  1002: 'The WebSocket framing is broken',
  1007: 'A text frame was not UTF-8',
  1008: 'A frame came in too many fragments',
  [CLOSE.tooLarge]: 'The frame is larger than this server takes',
};

/** A close frame carries at most 123 bytes of reason. */
const REASON_BYTES = 123;

function clip(reason: string): string {
  let text = reason;
  while (Buffer.byteLength(text) > REASON_BYTES) text = text.slice(0, -1);
  return text;
}

export class AnnouncingSocket extends WebSocket {
  /** Says why, then closes. Nothing happens where the socket is closing already. */
  announceAndClose(code: number, reason: string): void {
    if (this.readyState !== WebSocket.OPEN) return;
    const frame: ControlFrame = { type: 'connection.closing', code, reason, reconnect: isReconnectable(code) };
    this.send(JSON.stringify(frame));
    super.close(code, clip(reason));
  }

  override close(code?: number, data?: string | Buffer): void {
    const own = code === undefined ? undefined : REASONS[code];
    if (code === undefined || own === undefined) super.close(code, data);
    else this.announceAndClose(code, own);
  }
}
