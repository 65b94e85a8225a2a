/**
 * The model's side: speaks the Messages API's stream as fast, or as steadily, as the prompt asks. The prompt's text is
 * JSON: `{ name, tokens, perSecond }` (each token its own TCP segment) or `{ name, tokens, perWrite }` (flat out).
 */
import { createServer } from 'node:net';
import { serveQuestions } from './processes.mjs';
import { nowUs } from './statistics.mjs';
import { toToken } from './token.mjs';

const HEAD =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\nrequest-id: req_bench\r\n\r\n';
const toEvent = (data) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
const toChunk = (text) => `${text.length.toString(16)}\r\n${text}\r\n`;

const START = toChunk(
  toEvent({
    type: 'message_start',
    message: {
      id: 'msg_bench',
      type: 'message',
      role: 'assistant',
      model: 'claude-sonnet-5-5',
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: { input_tokens: 10, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
    },
  }) + toEvent({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
);
const STOP = `${toChunk(
  toEvent({ type: 'content_block_stop', index: 0 }) +
    toEvent({
      type: 'message_delta',
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: 100 },
    }) +
    toEvent({ type: 'message_stop' }),
)}0\r\n\r\n`;
const toDelta = (text) => toEvent({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } });
const [BEFORE, AFTER] = toDelta('\u0001').split('\\u0001');
const DELTA_BYTES = BEFORE.length + AFTER.length;

const paced = new Set();
/** Names of streams that were cut, with the moment at which their connection closed. */
let cuts = [];

const stampedDelta = () => {
  const token = toToken(nowUs());
  return `${(DELTA_BYTES + token.length).toString(16)}\r\n${BEFORE}${token}${AFTER}\r\n`;
};

/** Writes what is due, one write a token. The streams keep their own phases. */
function beat() {
  const now = performance.now();
  for (const stream of paced) {
    while (stream.left > 0 && stream.dueAt <= now) {
      stream.socket.write(stampedDelta(), 'latin1');
      stream.left--;
      stream.dueAt += stream.periodMs;
    }
    if (stream.left === 0) {
      paced.delete(stream);
      finish(stream);
    }
  }
  setTimeout(beat, 1);
}
beat();

const chunksOf = new Map();
function flatChunk(perWrite) {
  let chunk = chunksOf.get(perWrite);
  if (chunk === undefined) {
    const deltas = `${BEFORE}${toToken(0)}${AFTER}`.repeat(perWrite);
    chunk = Buffer.from(toChunk(deltas), 'latin1');
    chunksOf.set(perWrite, chunk);
  }
  return chunk;
}

/** One chunk a stream and turn of the loop, so that all streams run at once; a full socket sits out until it drains. */
function pump(stream) {
  if (stream.socket.destroyed) return;
  stream.left -= stream.perWrite;
  const takesMore = stream.socket.write(flatChunk(stream.perWrite));
  if (stream.left <= 0) finish(stream);
  else if (takesMore) setImmediate(pump, stream);
  else stream.socket.once('drain', () => pump(stream));
}

function finish(stream) {
  stream.socket.write(STOP, 'latin1');
  stream.socket.running = undefined;
}

const textOf = ({ content }) => (typeof content === 'string' ? content : content[0].text);

function begin(socket, body) {
  const { messages } = JSON.parse(body);
  // Behind it may stand what a turn that was taken up again had said.
  const text = messages.map(textOf).findLast((one) => one?.startsWith('{'));
  const { name, tokens, perSecond, perWrite } = JSON.parse(text);
  socket.running = name;
  socket.write(HEAD + START, 'latin1');
  if (perWrite !== undefined) return pump({ socket, left: tokens, perWrite });
  const periodMs = 1_000 / perSecond;
  // The first token goes at once; each stream then beats in a phase of its own.
  socket.write(stampedDelta(), 'latin1');
  const dueAt = performance.now() + periodMs * (0.5 + Math.random());
  paced.add({ socket, left: tokens - 1, periodMs, dueAt });
}

const server = createServer({ noDelay: true }, (socket) => {
  let pending = '';
  socket.setEncoding('latin1');
  socket.on('data', (text) => {
    pending += text;
    const headEnd = pending.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const length = Number(/content-length: (\d+)/i.exec(pending)[1]);
    const body = pending.slice(headEnd + 4);
    if (body.length < length) return;
    pending = '';
    begin(socket, body);
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    if (socket.running === undefined) return;
    cuts.push([socket.running, nowUs()]);
    for (const stream of paced) if (stream.socket === socket) paced.delete(stream);
  });
});
const listening = new Promise((resolve) => server.listen(0, '127.0.0.1', 4_096, resolve));

serveQuestions(async (question) => {
  if (question === 'cuts') {
    const answer = cuts;
    cuts = [];
    return answer;
  }
  await listening;
  return server.address().port;
});
