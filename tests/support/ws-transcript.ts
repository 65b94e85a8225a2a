/** The text of a turn as a client puts it together: deltas as they come, completed messages in their place. */
import type { SessionEvent, Snapshot } from '../../protocol/index.js';
import type { Frame } from './ws-recorder.js';

export class WsTranscript {
  /** By event id, in the order in which they began. */
  readonly #texts = new Map<string, string>();

  /** Everything so far, one message after the other. */
  get text(): string {
    return [...this.#texts.values()].join('');
  }

  takeAll(frames: readonly Frame[]): void {
    for (const frame of frames) if ('seq' in frame) this.take(frame);
  }

  take(event: SessionEvent): void {
    if (event.type === 'event_delta') {
      if (event.delta.type === 'content_delta') this.#append(event.event_id, event.delta.content.text);
    } else if (event.type === 'agent.message') {
      this.#texts.set(event.id, event.content.map(toText).join(''));
    } else if (event.type === 'step.superseded') {
      for (const id of event.discard_event_ids) this.#texts.delete(id);
    }
  }

  /** What a snapshot shows of the message that is still being made. */
  takeSnapshot({ partial }: Snapshot): void {
    if (partial) this.#texts.set(partial.event_id, partial.content.map(toText).join(''));
  }

  #append(id: string, text: string): void {
    this.#texts.set(id, (this.#texts.get(id) ?? '') + text);
  }
}

const toText = (block: { readonly type: string; readonly [key: string]: unknown }): string =>
  block.type === 'text' ? String(block['text']) : '';
