/**
 * The measure: the least that brings a model's tokens to a browser. A WebSocket, a raw socket to the upstream, one
 * frame for each text delta. No log, no resume, no schema, no tools, no limits; its cancel just drops the socket.
 * A room is what others watch: they get the frames in place of who prompts.
 */
import { connect } from 'node:net';
import { WebSocketServer } from 'ws';

const upstreamPort = Number(process.env.MIDSTREAM_BENCH_UPSTREAM_PORT);
const DATA = 'data: ';

class Room {
  #watchers = new Set();
  upstream;

  add(socket) {
    this.#watchers.add(socket);
  }

  remove(socket) {
    this.#watchers.delete(socket);
  }

  send(frame) {
    for (const watcher of this.#watchers) watcher.send(frame);
  }
}

const rooms = new Map();

function roomOf(name) {
  let room = rooms.get(name);
  if (room === undefined) {
    room = new Room();
    rooms.set(name, room);
  }
  return room;
}

function prompt(socket, text) {
  const body = JSON.stringify({
    model: 'claude-sonnet-5-5',
    max_tokens: 4_096,
    stream: true,
    messages: [{ role: 'user', content: text }],
  });
  const upstream = connect(upstreamPort, '127.0.0.1');
  upstream.setNoDelay(true);
  upstream.setEncoding('utf8');
  upstream.write(
    `POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  let rest = '';
  // Whatever isn't a line of data (headers, chunk sizes, event names) is passed over: leaner than any true HTTP client.
  upstream.on('data', (chunk) => {
    const lines = rest + chunk;
    let at = 0;
    for (;;) {
      const end = lines.indexOf('\n', at);
      if (end < 0) break;
      if (lines.startsWith(DATA, at)) take(JSON.parse(lines.slice(at + DATA.length, end)));
      at = end + 1;
    }
    rest = lines.slice(at);
  });
  upstream.on('error', () => {});
  const take = (event) => {
    if (event.type === 'content_block_delta') socket.send(JSON.stringify({ type: 'delta', text: event.delta.text }));
    else if (event.type === 'message_stop') {
      socket.send('{"type":"done"}');
      upstream.destroy();
    }
  };
  return upstream;
}

const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
server.on('connection', (socket) => {
  let upstream;
  let watched;
  socket.on('message', (data) => {
    const { type, id, text, room: name } = JSON.parse(data);
    const room = name === undefined ? watched : roomOf(name);
    if (type === 'prompt') {
      upstream = prompt(room ?? socket, text);
      if (room !== undefined) room.upstream = upstream;
    } else if (type === 'watch') {
      watched = room;
      room.add(socket);
      socket.send(JSON.stringify({ type: 'watched', id }));
    } else if (type === 'cancel') {
      (room?.upstream ?? upstream)?.destroy();
      socket.send(JSON.stringify({ type: 'cancelled', id }));
    }
  });
  socket.on('close', () => {
    upstream?.destroy();
    watched?.remove(socket);
  });
});
// Said as Midstream says it, so that both are started and found alike.
server.once('listening', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
