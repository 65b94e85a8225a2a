/** Keys of an issuer by URL: fetched ahead of need, rotated by `kid`, and kept while the issuer is away. */
import { errors, type JWSHeaderParameters, type LocalJWKSet } from 'jose';
import { MidstreamError } from '../../../protocol/index.js';
import type { Clock, Timer } from '../../ports/clock.js';
import type { Logger } from '../../ports/logger.js';
import { readKeySet } from './key-set.js';
import { type KeySource, type KeyStatus, PUBLIC_KEY_ALGORITHMS } from './key-source.js';

export interface RemoteKeysDeps {
  readonly url: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long keys are used before they are fetched anew; so long, at most, a withdrawn key is still taken. */
  readonly refreshMs?: number;
  /** The least time between two fetches that a token asks for, whatever keys tokens name. */
  readonly cooldownMs?: number;
  /** Wait after a fetch that failed. */
  readonly retryMs?: number;
  readonly timeoutMs?: number;
}

const MAX_BYTES = 1_048_576;

export class RemoteKeys implements KeySource {
  readonly algorithms = PUBLIC_KEY_ALGORITHMS;
  readonly #deps: Required<RemoteKeysDeps>;
  #keys: { readonly find: LocalJWKSet; readonly count: number; readonly at: number } | undefined;
  #failure: { readonly reason: string; readonly since: number } | undefined;
  /** The fetch under way; everybody who needs one waits for it. */
  #pending: Promise<void> | undefined;
  /** No token causes a fetch before this time. */
  #quietUntil = 0;
  #timer: Timer | undefined;
  readonly #closed = new AbortController();

  constructor(deps: RemoteKeysDeps) {
    this.#deps = { refreshMs: 600_000, cooldownMs: 30_000, retryMs: 5_000, timeoutMs: 5_000, ...deps };
  }

  /** Begins to fetch, now and then again. Resolves when the first try is over; never rejects. */
  start(): Promise<void> {
    return this.#load();
  }

  async find(header: JWSHeaderParameters) {
    // Known keys never wait, whatever is asked for beside them.
    const known = await this.#lookUp(header);
    if (known) return known;
    await this.#loadUnlessQuiet();
    const found = await this.#lookUp(header);
    if (found) return found;
    if (this.#keys) throw new errors.JWKSNoMatchingKey();
    throw new MidstreamError('store_unavailable', 'The keys of the token issuer can’t be had now; try again', {
      retryAfterMs: this.#deps.retryMs,
    });
  }

  status(): KeyStatus {
    const { url } = this.#deps;
    const failure = this.#failure && `since ${toTime(this.#failure.since)} it fails: ${this.#failure.reason}`;
    if (!this.#keys)
      return { ok: false, detail: `no keys of ${url} yet; ${failure ?? 'the first fetch is under way'}` };
    const have = `tokens by ${this.#keys.count} key(s) of ${url}, fetched ${toTime(this.#keys.at)}`;
    return { ok: true, detail: failure === undefined ? have : `${have}; ${failure}; the last good keys are used` };
  }

  close(): void {
    this.#timer?.cancel();
    this.#closed.abort();
  }

  async #lookUp(header: JWSHeaderParameters) {
    try {
      return await this.#keys?.find(header);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return undefined;
      throw error;
    }
  }

  async #loadUnlessQuiet(): Promise<void> {
    if (this.#pending) return this.#pending;
    if (this.#deps.clock.now() < this.#quietUntil) return;
    await this.#load();
  }

  #load(): Promise<void> {
    this.#pending ??= this.#fetchOnce().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #fetchOnce(): Promise<void> {
    const { url, clock, logger, refreshMs, cooldownMs, retryMs } = this.#deps;
    this.#timer?.cancel();
    try {
      this.#keys = { ...readKeySet(await this.#download()), at: clock.now() };
      if (this.#failure) logger.info('the keys of the token issuer can be had again', { url });
      this.#failure = undefined;
    } catch (error) {
      const reason = toReason(error);
      if (!this.#failure && !this.#closed.signal.aborted)
        logger.warn('the keys of the token issuer could not be fetched', { url, reason });
      this.#failure = { reason, since: this.#failure?.since ?? clock.now() };
    }
    if (this.#closed.signal.aborted) return;
    const now = clock.now();
    this.#quietUntil = now + (this.#failure ? retryMs : cooldownMs);
    this.#timer = clock.schedule(this.#failure ? retryMs : refreshMs, () => void this.#load());
  }

  async #download(): Promise<unknown> {
    const { url, timeoutMs } = this.#deps;
    const response = await fetch(url, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      // A redirect could lead anywhere, to plain HTTP too.
      redirect: 'error',
      signal: AbortSignal.any([this.#closed.signal, AbortSignal.timeout(timeoutMs)]),
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`it answered with ${response.status}`);
    }
    let text = '';
    let bytes = 0;
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > MAX_BYTES) throw new Error(`it answered with more than ${MAX_BYTES} bytes`);
      text += decoder.decode(chunk, { stream: true });
    }
    return JSON.parse(text + decoder.decode());
  }
}

const toTime = (ms: number): string => new Date(ms).toISOString();

/** `fetch` says only that it failed; why is in its cause. */
function toReason(error: unknown): string {
  const { name, message, cause } = error as Error;
  if (name === 'SyntaxError') return 'its answer is not JSON';
  const why = (cause as Error | undefined)?.message;
  return why ? `${message}: ${why}` : message;
}
