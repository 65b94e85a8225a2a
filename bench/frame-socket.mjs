/** A WebSocket client that costs next to nothing: frames are handed over as bytes where they were read. */
import { connect } from 'node:net';

const READ_BYTES = 64 * 1_024;
/** All sockets read into one buffer: what they read is used up before the next one reads. */
const shared = Buffer.allocUnsafe(READ_BYTES);
const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

export class FrameSocket {
  #tcp;
  #rest;
  #isOpen = false;
  #onFrame;
  #onOpen;
  #onClose;

  /** `token`: sent as a bearer token. `onFrame(bytes, start, end)`: a text frame's payload; valid only during the call. */
  constructor({ port, path, protocol, token }, { onFrame, onOpen = () => {}, onClose = () => {} }) {
    this.#onFrame = onFrame;
    this.#onOpen = onOpen;
    this.#onClose = onClose;
    const onread = { buffer: shared, callback: (length, bytes) => this.#read(bytes, length) };
    this.#tcp = connect({ port, host: '127.0.0.1', noDelay: true, onread });
    this.#tcp.on('error', (error) => this.#onClose(error));
    this.#tcp.on('close', () => this.#onClose(new Error('the server closed the connection')));
    const offer = protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
    const credential = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`;
    this.#tcp.write(
      `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${offer}${credential}\r\n`,
    );
  }

  send(text) {
    this.#write(TEXT, Buffer.from(text));
  }

  destroy() {
    this.#onClose = () => {};
    this.#onFrame = () => {};
    this.#tcp.destroy();
  }

  #write(opcode, payload) {
    const long = payload.length > 125;
    const head = Buffer.alloc((long ? 4 : 2) + 4);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (long ? 126 : payload.length);
    if (long) head.writeUInt16BE(payload.length, 2);
    // A mask of zeros is a mask.
    this.#tcp.write(Buffer.concat([head, payload]));
  }

  #read(bytes, length) {
    let buffer = bytes;
    let end = length;
    if (this.#rest !== undefined) {
      buffer = Buffer.concat([this.#rest, bytes.subarray(0, length)]);
      end = buffer.length;
      this.#rest = undefined;
    }
    let at = this.#isOpen ? 0 : this.#readHead(buffer, end);
    if (this.#isOpen) at = this.#readFrames(buffer, at, end);
    if (at < end) this.#rest = Buffer.from(buffer.subarray(at, end));
    return true;
  }

  /** Returns where the frames begin. */
  #readHead(buffer, end) {
    const head = buffer.latin1Slice(0, end);
    const headEnd = head.indexOf('\r\n\r\n');
    if (headEnd < 0) return 0;
    if (!head.startsWith('HTTP/1.1 101')) {
      this.#onClose(new Error(`the upgrade was refused: ${head.slice(0, head.indexOf('\r\n'))}`));
      this.destroy();
      return end;
    }
    this.#isOpen = true;
    this.#onOpen();
    return headEnd + 4;
  }

  /** Returns where the first unfinished frame begins. */
  #readFrames(buffer, at, end) {
    while (at + 2 <= end) {
      let size = buffer[at + 1] & 0x7f;
      let start = at + 2;
      if (size === 126) {
        if (at + 4 > end) break;
        size = buffer.readUInt16BE(at + 2);
        start = at + 4;
      } else if (size === 127) {
        if (at + 10 > end) break;
        size = Number(buffer.readBigUInt64BE(at + 2));
        start = at + 10;
      }
      if (start + size > end) break;
      const opcode = buffer[at] & 0x0f;
      if (opcode === TEXT) this.#onFrame(buffer, start, start + size);
      else if (opcode === PING) this.#write(PONG, Buffer.from(buffer.subarray(start, start + size)));
      else if (opcode === CLOSE) this.#onClose(new Error(`closed: ${buffer.utf8Slice(start + 2, start + size)}`));
      at = start + size;
    }
    return at;
  }
}
