/** The whole text of a turn's answer, from deltas, completed messages or a snapshot, whichever came. */
import type { Block, SessionEvent } from '../protocol/events.js';

/** Stands between the texts of two messages of one turn. */
export const MESSAGE_SEPARATOR = '\n\n';

export const toBlocksText = (content: readonly Block[]): string =>
  content.map(({ text }) => (typeof text === 'string' ? text : '')).join('');

export class TurnText {
  /** Text blocks by message, in the order in which the messages began. */
  readonly #messages = new Map<string, string[]>();

  apply(event: SessionEvent): void {
    if (event.type === 'event_delta' && event.delta.type === 'content_delta') {
      const { index, content } = event.delta;
      const blocks = this.#messages.get(event.event_id) ?? [];
      while (blocks.length <= index) blocks.push('');
      blocks[index] += content.text;
      this.#messages.set(event.event_id, blocks);
    } else if (event.type === 'agent.message') {
      this.replace(event.id, event.content);
    } else if (event.type === 'step.superseded') {
      for (const id of event.discard_event_ids) this.#messages.delete(id);
    }
  }

  /** What a message has come to, said whole. */
  replace(eventId: string, content: readonly Block[]): void {
    this.#messages.set(eventId, [toBlocksText(content)]);
  }

  get value(): string {
    const texts = [...this.#messages.values()].map((blocks) => blocks.join(''));
    return texts.filter((text) => text !== '').join(MESSAGE_SEPARATOR);
  }
}

/** Text as it comes, each piece once; a completed message fills in what its deltas left out. */
export async function* toTextStream(events: AsyncIterable<SessionEvent>): AsyncGenerator<string, void, undefined> {
  const givenLengths = new Map<string, number>();
  const give = (eventId: string, text: string): string => {
    const isFirst = !givenLengths.has(eventId);
    const separator = isFirst && givenLengths.size > 0 ? MESSAGE_SEPARATOR : '';
    givenLengths.set(eventId, (givenLengths.get(eventId) ?? 0) + text.length);
    return separator + text;
  };
  for await (const event of events) {
    if (event.type === 'event_delta' && event.delta.type === 'content_delta') {
      yield give(event.event_id, event.delta.content.text);
    } else if (event.type === 'agent.message') {
      const rest = toBlocksText(event.content).slice(givenLengths.get(event.id) ?? 0);
      if (rest !== '') yield give(event.id, rest);
    }
  }
}
