/** The connections of one test: opened as it needs them, held to their laws and closed at its end. */
import type { EventOf, UserMessage } from '../../protocol/index.js';
import { WsRecorder } from './ws-recorder.js';
import { WsTranscript } from './ws-transcript.js';

type Many<N extends number> = N extends 2 ? [WsRecorder, WsRecorder] : [WsRecorder, WsRecorder, WsRecorder];

export class Watchers {
  readonly #open: WsRecorder[] = [];

  constructor(private readonly wsUrl: () => string) {}

  async connect(): Promise<WsRecorder> {
    const recorder = await WsRecorder.connect(this.wsUrl());
    this.#open.push(recorder);
    return recorder;
  }

  async connectMany<N extends 2 | 3>(count: N): Promise<Many<N>> {
    return (await Promise.all(Array.from({ length: count }, () => this.connect()))) as Many<N>;
  }

  /** Prompts, and resolves with the end of its turn. */
  async turn(
    client: WsRecorder,
    sessionId: string,
    content: string,
    fields: Partial<Omit<UserMessage, 'content'>> = {},
  ): Promise<EventOf<'turn.ended'> & { turn_id: string }> {
    const { result } = await client.prompt(sessionId, content, fields);
    const ended = await client.event('turn.ended', { turnId: result.turn_id });
    return { ...ended, turn_id: result.turn_id };
  }

  /** What a client shows of a turn. */
  textOf(client: WsRecorder, turnId: string): string {
    const transcript = new WsTranscript();
    transcript.takeAll(client.frames.filter((frame) => 'turn_id' in frame && frame.turn_id === turnId));
    return transcript.text;
  }

  /** Closes what is open. Fails where a frame broke a law. */
  async release(): Promise<void> {
    const recorders = this.#open.splice(0);
    await Promise.all(recorders.map((recorder) => recorder.drop()));
    const violations = recorders.flatMap((recorder) => recorder.violations);
    if (violations.length > 0) throw new Error(`frames broke laws:\n${violations.slice(0, 10).join('\n')}`);
  }
}
