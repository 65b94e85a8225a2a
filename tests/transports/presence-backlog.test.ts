/** What a watcher who reads nothing may cost: others' presence must not pile up in its socket (LOG-6). */
import type { ControlFrame } from '../../protocol/index.js';
import { SocketSink } from '../../server/transports/ws/socket-sink.js';
import type { SocketWriter } from '../../server/transports/ws/socket-writer.js';

/** A socket that is full until the test lets it drain. */
function makeWriter() {
  const sent: string[] = [];
  const waiting: (() => void)[] = [];
  let isFull = false;
  const writer = {
    backlogBytes: 0,
    send: (text: string) => void sent.push(text),
    takesMore(onDrain: () => void) {
      if (isFull) waiting.push(onDrain);
      return !isFull;
    },
  } as unknown as SocketWriter;
  return {
    writer,
    sent,
    fill: () => {
      isFull = true;
    },
    drain: () => {
      isFull = false;
      for (const resume of waiting.splice(0)) resume();
    },
    get waiting() {
      return waiting.length;
    },
  };
}

const presence = (n: number): ControlFrame => ({
  type: 'presence.changed',
  session_id: 'sesn_a',
  members: [{ user_id: 'alice', connection_id: 'conn_a', state: { n } }],
});
const shown = (sent: readonly string[]) => sent.map((text) => JSON.parse(text).members?.[0].state.n);

function makeSink() {
  const socket = makeWriter();
  const sink = new SocketSink({
    sessionId: 'sesn_a',
    writer: socket.writer,
    onDetached: () => {},
    closeConnection: () => {},
  });
  return { ...socket, socket, sink };
}

it('[LOG-6] a full socket is told the latest presence once it drains, and nothing piles up', () => {
  const { sink, socket, sent, fill, drain } = makeSink();
  sink.control(presence(1));
  fill();
  for (let n = 2; n <= 1_000; n += 1) sink.control(presence(n));
  expect(shown(sent)).toEqual([1]);
  expect(socket.waiting).toBe(1);
  drain();
  expect(shown(sent)).toEqual([1, 1_000]);
  sink.control(presence(1_001));
  expect(shown(sent)).toEqual([1, 1_000, 1_001]);
});

it('shows nothing of it where the subscription ended meanwhile', () => {
  const { sink, sent, fill, drain } = makeSink();
  fill();
  sink.control(presence(1));
  sink.end();
  drain();
  expect(sent).toEqual([]);
});

it('a full socket hears at once what is no presence', () => {
  const { sink, sent, fill } = makeSink();
  fill();
  sink.control(presence(1));
  sink.control({ type: 'connection.detached', session_id: 'sesn_a', code: 'forbidden' });
  expect(sent.map((text) => JSON.parse(text).type)).toEqual(['connection.detached']);
});
