/** One client with one session, in each server's dialect: prompts, counts and times tokens, cancels. */
import { randomUUID } from 'node:crypto';
import { FrameSocket } from './frame-socket.mjs';
import { nowUs } from './statistics.mjs';
import { readTokens } from './token.mjs';

const QUOTE = 0x22;
const TILDE = 0x7e;
/** Where the value of `type` begins in a frame: after `{"type":"`. */
const TYPE_AT = 9;
/** Ids of commands are remembered across connections; each driver has its own. */
const DRIVER_ID = randomUUID();
let nextCommand = 1;
const TEXT_KEY = Buffer.from('"text":"');

/** What all conversations of one driver have counted together. */
export class Tally {
  tokens = 0;
  /** Microseconds from the upstream's write to here, one a token, since the last `take`. */
  latenciesUs = [];

  take() {
    const { tokens, latenciesUs } = this;
    this.latenciesUs = [];
    return { tokens, latenciesUs };
  }
}

class Conversation {
  #tally;
  #textAt = 0;
  #onFirst;
  #onEnd;
  #onAnswer = new Map();
  #fail;
  #onResumed;
  /** Rejects where the connection breaks. */
  broken = new Promise((_, reject) => {
    this.#fail = reject;
  });
  tokens = 0;
  /** Tokens that came with the completed message alone. */
  skipped = 0;

  /** `at`: port, path, subprotocol and token, as `FrameSocket` takes them. */
  constructor(tally, at) {
    this.#tally = tally;
    this.broken.catch(() => {});
    this.opened = new Promise((resolve) => {
      this.socket = new FrameSocket(at, {
        onFrame: (bytes, start, end) => this.#take(bytes, start, end),
        onOpen: resolve,
        onClose: (error) => this.#fail(error),
      });
    });
  }

  /** Resolves with how many tokens came, when the turn is over; `onFirst` is called at the first. */
  prompt(what, onFirst = () => {}) {
    const over = this.follow(onFirst);
    this.sendPrompt(JSON.stringify(what));
    return over;
  }

  /** The same for a turn that another connection begins. */
  follow(onFirst = () => {}) {
    this.tokens = 0;
    this.skipped = 0;
    this.#onFirst = onFirst;
    const over = new Promise((resolve) => {
      this.#onEnd = () => resolve(this.tokens);
    });
    return Promise.race([over, this.broken]);
  }

  /** Resolves with the moment of the first token of the next request to the model. */
  resumed() {
    const resumed = new Promise((resolve) => {
      this.#onResumed = { resolve, hasBegun: false };
    });
    return Promise.race([resumed, this.broken]);
  }

  begun() {
    if (this.#onResumed !== undefined) this.#onResumed.hasBegun = true;
  }

  /** Sends a command and resolves with its answer. */
  request(command) {
    const id = `${DRIVER_ID}-${nextCommand++}`;
    const answered = new Promise((resolve) => this.#onAnswer.set(id, resolve));
    this.socket.send(JSON.stringify({ ...command, id }));
    return Promise.race([answered, this.broken]);
  }

  answered(id, answer) {
    const onAnswer = this.#onAnswer.get(id);
    this.#onAnswer.delete(id);
    onAnswer?.(answer);
  }

  ended() {
    this.#onEnd?.();
  }

  fail(error) {
    this.#fail(error);
  }

  close() {
    this.socket.destroy();
  }

  #take(bytes, start, end) {
    if (!this.isDelta(bytes, start + TYPE_AT)) {
      this.take(JSON.parse(bytes.utf8Slice(start, end)));
      return;
    }
    const arrivedUs = nowUs();
    const { latenciesUs } = this.#tally;
    const tokens = readTokens(bytes, this.#findText(bytes, start, end), (stampUs) =>
      latenciesUs.push(arrivedUs - stampUs),
    );
    if (this.tokens === 0) this.#onFirst();
    if (this.#onResumed?.hasBegun) {
      this.#onResumed.resolve(arrivedUs);
      this.#onResumed = undefined;
    }
    this.tokens += tokens;
    this.#tally.tokens += tokens;
  }

  /** Frames of one turn begin alike, so the place is searched for once a turn. */
  #findText(bytes, start, end) {
    const guess = start + this.#textAt;
    if (bytes[guess] === TILDE && bytes[guess - 1] === QUOTE) return guess;
    const found = bytes.subarray(start, end).indexOf(TEXT_KEY) + TEXT_KEY.length;
    this.#textAt = found;
    return start + found;
  }
}

class RelayConversation extends Conversation {
  #room;

  constructor(tally, { port }) {
    super(tally, { port, path: '/' });
  }

  async ready() {
    await Promise.race([this.opened, this.broken]);
  }

  async open() {
    await this.ready();
  }

  async create() {
    await this.ready();
    this.#room = randomUUID();
    return this.#room;
  }

  async watch(room) {
    await this.ready();
    await this.request({ type: 'watch', room });
  }

  sendPrompt(text) {
    this.socket.send(JSON.stringify({ type: 'prompt', text, room: this.#room }));
  }

  async cancel() {
    await this.request({ type: 'cancel' });
    this.ended();
  }

  isDelta(bytes, at) {
    return bytes[at] === 0x64 && bytes[at + 1] === 0x65;
  }

  take(frame) {
    if (frame.type === 'cancelled' || frame.type === 'watched') this.answered(frame.id, frame);
    else if (frame.type === 'done') this.ended();
  }
}

class MidstreamConversation extends Conversation {
  #sessionId;
  /** Tokens before the message that streams. */
  #shown = 0;
  #onReady;
  #isReady = new Promise((resolve) => {
    this.#onReady = resolve;
  });

  constructor(tally, { port, token }) {
    super(tally, { port, token, path: '/v1/ws', protocol: 'midstream.v1' });
  }

  async ready() {
    await Promise.race([this.#isReady, this.broken]);
  }

  async open() {
    await this.watch(await this.create());
  }

  async create() {
    await this.ready();
    const { session } = await this.#ask({ type: 'session.create' });
    this.#sessionId = session.id;
    return session.id;
  }

  async watch(sessionId) {
    await this.ready();
    this.#sessionId = sessionId;
    await this.#ask({ type: 'session.attach', session_id: sessionId, deltas: true });
  }

  sendPrompt(text) {
    this.#ask({ type: 'user.message', session_id: this.#sessionId, content: text }).catch((error) => this.fail(error));
  }

  async cancel() {
    await this.#ask({ type: 'user.interrupt', session_id: this.#sessionId });
  }

  /** `event_delta`, in contrast to `event_start`. */
  isDelta(bytes, at) {
    return bytes[at] === 0x65 && bytes[at + 6] === 0x64;
  }

  take(frame) {
    switch (frame.type) {
      case 'connection.ready':
        this.#onReady();
        break;
      case 'command.accepted':
      case 'command.rejected':
        this.answered(frame.id, frame);
        break;
      case 'event_start':
        this.begun();
        this.#shown = this.tokens;
        break;
      case 'agent.message':
        this.skipped += countTokens(frame) - (this.tokens - this.#shown);
        break;
      case 'turn.ended':
        if (frame.error !== undefined)
          this.fail(new Error(`a turn failed: ${frame.error.code} ${frame.error.message}`));
        this.ended();
        break;
    }
  }

  async #ask(command) {
    const { result, error } = await this.request(command);
    if (error !== undefined) throw new Error(`${command.type} was refused: ${error.code} ${error.message}`);
    return result;
  }
}

const countTokens = ({ content }) => content.reduce((count, { text = '' }) => count + text.split('~').length - 1, 0);

export const DIALECTS = {
  relay: RelayConversation,
  midstream: MidstreamConversation,
  gated: MidstreamConversation,
  node: MidstreamConversation,
};
