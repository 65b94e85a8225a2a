/** Work that several callers wait for: aborted when the last of them has gone. */

export class SharedCall<T> {
  readonly result: Promise<T>;
  readonly #abort = new AbortController();
  #waiting = 0;

  constructor(run: (signal: AbortSignal) => Promise<T>) {
    this.result = run(this.#abort.signal);
  }

  /** Waits with the others; `signal` says that this one has gone. */
  async join(signal: AbortSignal): Promise<T> {
    this.#waiting++;
    const leave = (): void => {
      this.#waiting--;
      if (this.#waiting === 0) this.abort();
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    try {
      return await this.result;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  abort(): void {
    this.#abort.abort();
  }
}
