/** The Server-Sent Events transport. */
export { LogSink, type LogSinkDeps, type Preview } from './log-sink.js';
export { SseStream, toSseText } from './sse-stream.js';
export { createSseStreams, type SseStreams, type StreamEnd } from './sse-streams.js';
