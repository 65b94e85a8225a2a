/** All open event streams of this process: opens them, keeps them alive, ends them at a shutdown. */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../ports/clock.js';
import { CommentBeat } from './comment-beat.js';
import { SseStream } from './sse-stream.js';

export interface StreamEnd {
  /** Called once, whoever ended the stream. */
  readonly onClosed: () => void;
  /** The events with which a shutdown ends it. */
  readonly farewell: () => string;
}

export interface SseStreams {
  /** Sends the headers and begins the stream. */
  open(res: ServerResponse, end: StreamEnd): SseStream;
  /** Ends every stream with its farewell; clients connect again and resume. */
  close(): void;
  readonly streamCount: number;
}

export function createSseStreams({ clock }: { readonly clock: Clock }): SseStreams {
  const beat = new CommentBeat(clock);
  const farewells = new Map<SseStream, () => string>();
  return {
    open(res, { onClosed, farewell }) {
      const stream: SseStream = new SseStream({
        res,
        onClosed: () => {
          farewells.delete(stream);
          beat.remove(comment);
          onClosed();
        },
      });
      const comment = (): void => stream.comment();
      farewells.set(stream, farewell);
      beat.add(comment);
      return stream;
    },
    close() {
      for (const [stream, farewell] of farewells) {
        stream.push(farewell());
        stream.end();
      }
    },
    get streamCount() {
      return farewells.size;
    },
  };
}
