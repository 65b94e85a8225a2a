/** Reads Server-Sent Events from a fetch response, one after the other. */
export interface SseEvent {
  readonly id?: string;
  readonly event?: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came.
  readonly data: any;
}

export class SseReader {
  readonly events: SseEvent[] = [];
  readonly comments: string[] = [];
  ended = false;
  private text = '';
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private readonly decoder = new TextDecoder();

  constructor(readonly response: Response) {
    if (response.body === null) throw new Error('no body');
    this.reader = response.body.getReader();
  }

  /** Reads until an event or comment fits; fails where the stream ends before. */
  async until(fits: (reader: SseReader) => boolean): Promise<this> {
    while (!fits(this)) {
      if (this.ended) throw new Error(`the stream ended; got ${JSON.stringify(this.events)}`);
      await this.read();
    }
    return this;
  }

  /** Reads to the end of the stream. */
  async all(): Promise<readonly SseEvent[]> {
    while (!this.ended) await this.read();
    return this.events;
  }

  cancel(): Promise<void> {
    return this.reader.cancel();
  }

  private async read(): Promise<void> {
    const { done, value } = await this.reader.read();
    if (done) {
      this.ended = true;
      return;
    }
    this.text += this.decoder.decode(value, { stream: true });
    for (;;) {
      const end = this.text.indexOf('\n\n');
      if (end === -1) return;
      const lines = this.text.slice(0, end).split('\n');
      this.text = this.text.slice(end + 2);
      const fields: Record<string, string> = {};
      for (const line of lines) {
        if (line.startsWith(':')) this.comments.push(line);
        else fields[line.slice(0, line.indexOf(':'))] = line.slice(line.indexOf(':') + 2);
      }
      if (fields['data'] !== undefined) this.events.push({ ...fields, data: JSON.parse(fields['data']) });
    }
  }
}
