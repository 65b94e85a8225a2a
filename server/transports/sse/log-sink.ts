/** A subscription that is written as Server-Sent Events: the log as it is, `id` being the cursor. */
import { CLOSE, type CloseCode, type ControlFrame, isReconnectable, toCursor } from '../../../protocol/index.js';
import { type FrameSink, type LogRecord, toFrame } from '../../session/session-api.js';
import { type SseStream, toSseText } from './sse-stream.js';

/** What is previewed while it is made: a message's text, or only that thinking has begun. */
export type Preview = 'agent.message' | 'agent.thinking';

export interface LogSinkDeps {
  readonly sessionId: string;
  readonly previews: ReadonlySet<Preview>;
}

/** Control frames after which this subscription gives nothing more: the client has to come again. */
const LAST = new Set<ControlFrame['type']>(['connection.detached', 'connection.reset']);

export class LogSink implements FrameSink {
  private stream: SseStream | undefined;
  private epoch = '';
  /** How the subscription ended before the stream was open. */
  private endedBy: ControlFrame | undefined;
  /** The seq delivered before the records that were left out since (LOG-3). */
  private deliveredBefore: number | undefined;

  constructor(private readonly deps: LogSinkDeps) {}

  /** The stream is open; call it before the attachment starts. */
  begin(stream: SseStream, epoch: string): void {
    this.stream = stream;
    this.epoch = epoch;
    if (this.endedBy !== undefined) this.finish(this.endedBy);
  }

  write(record: LogRecord, prevSeq: number): void {
    if (!this.isWanted(record)) {
      this.deliveredBefore ??= prevSeq;
      return;
    }
    const frame = toFrame(this.deps.sessionId, record, this.deliveredBefore ?? prevSeq);
    this.deliveredBefore = undefined;
    const type = record.kind === 'delta' ? 'event_delta' : record.type;
    this.stream?.push(toSseText(type, frame, toCursor(this.epoch, record.seq)));
  }

  get backlogBytes(): number {
    return this.stream?.backlogBytes ?? 0;
  }

  flush(onDrain: () => void): boolean {
    return this.stream?.flush(onDrain) ?? true;
  }

  control(frame: ControlFrame): void {
    if (!LAST.has(frame.type)) return;
    this.finish(frame);
  }

  close(code: CloseCode, reason: string): void {
    this.finish({ type: 'connection.closing', code, reason, reconnect: isReconnectable(code) });
  }

  /** What a stream of the log says when the server goes down. */
  static farewell(): string {
    const reason = 'The server is going down';
    const frame: ControlFrame = { type: 'connection.closing', code: CLOSE.draining, reason, reconnect: true };
    return toSseText(frame.type, JSON.stringify(frame));
  }

  private finish(frame: ControlFrame): void {
    this.endedBy = frame;
    this.stream?.push(toSseText(frame.type, JSON.stringify(frame)));
    this.stream?.end();
  }

  private isWanted(record: LogRecord): boolean {
    const { previews } = this.deps;
    if (record.kind === 'delta') return record.channel === 'text' && previews.has('agent.message');
    if (record.type !== 'event_start') return true;
    const { event } = JSON.parse(record.json) as { event: { type: string } };
    return previews.has(event.type as Preview);
  }
}
