/** Reads the changes of the directory as they come, and all of it where the changes have a hole. */
import type { DirectoryChange, Following, Revocation, SeenRoles } from '../../ports/directory-store.js';
import type { Logger } from '../../ports/logger.js';
import { keys } from './keys.js';
import type { RedisConnection } from './redis-connection.js';

export interface FollowerDeps {
  readonly redis: RedisConnection;
  readonly logger: Logger | undefined;
  readonly onChange: (change: DirectoryChange) => void;
  /** After this long without a whole reading nobody can say who was revoked. */
  readonly staleMs: number;
}

type Entry = readonly [id: string, fields: readonly string[]];

/** Where a message was lost, a change is read this much later, in milliseconds. */
const POLL_MS = 250;
const PAGE = 1_000;
const { directoryRoles: ROLES, directoryRevocations: REVOCATIONS } = keys;
const { directoryChanges: CHANGES, directoryVersion: VERSION, directoryChannel: CHANNEL } = keys;

export class DirectoryFollower implements Following {
  readonly #deps: FollowerDeps;
  /** The last change that was told. */
  #version = 0;
  /** What it said; undefined where that was not read. */
  #last: string | undefined;
  /** Up to here everything was told; of the clock that never goes back. */
  #currentAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #isWoken = false;
  #isClosed = false;
  #unlisten: (() => void) | undefined;

  private constructor(deps: FollowerDeps) {
    this.#deps = deps;
  }

  static async start(deps: FollowerDeps): Promise<DirectoryFollower> {
    const follower = new DirectoryFollower(deps);
    follower.#unlisten = await deps.redis.listen(CHANNEL, () => follower.#wake());
    try {
      await follower.#begin();
    } catch (error) {
      follower.#unlisten();
      throw error;
    }
    follower.#schedule();
    return follower;
  }

  get isCurrent(): boolean {
    return performance.now() - this.#currentAt <= this.#deps.staleMs;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#unlisten?.();
    await this.#reading;
  }

  /** From the version of this moment on; what was revoked before it is told here. */
  async #begin(): Promise<void> {
    const startedAt = performance.now();
    this.#version = Number((await this.#deps.redis.do((client) => client.get(VERSION))) ?? 0);
    await this.#tellRevocations();
    this.#currentAt = startedAt;
  }

  #wake(): void {
    if (this.#reading) this.#isWoken = true;
    else this.#read();
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => this.#read(), POLL_MS).unref();
  }

  #read(): void {
    if (this.#isClosed || this.#reading) return;
    clearTimeout(this.#timer);
    this.#isWoken = false;
    this.#reading = this.#catchUp()
      .catch((error: unknown) => this.#deps.logger?.debug('the directory could not be read', { error }))
      .then(() => {
        this.#reading = undefined;
        if (this.#isWoken) this.#read();
        else this.#schedule();
      });
  }

  async #catchUp(): Promise<void> {
    const { redis } = this.#deps;
    for (;;) {
      const startedAt = performance.now();
      const reply = await redis.run('directory-read', [CHANGES, VERSION], [this.#version, PAGE]);
      const [version, entries] = reply as [number, readonly Entry[]];
      if (this.#isClosed) return;
      const later = this.#withoutKnown(entries);
      // Trimmed, or a failover lost what was told here: then all of it is told.
      if (!later || (later[0] && toVersion(later[0]) !== this.#version + 1)) await this.#tellAll(version);
      else for (const entry of later) this.#tell(entry);
      if (this.#version < version) continue;
      this.#currentAt = startedAt;
      return;
    }
  }

  /** What follows what was told; undefined where that is not there any more. */
  #withoutKnown(entries: readonly Entry[]): readonly Entry[] | undefined {
    if (this.#version === 0) return entries;
    const [known, ...later] = entries;
    if (!known || toVersion(known) !== this.#version) return undefined;
    this.#last ??= toText(known);
    return this.#last === toText(known) ? later : undefined;
  }

  #tell(entry: Entry): void {
    this.#version = toVersion(entry);
    this.#last = toText(entry);
    const [name, value = '', , at] = entry[1];
    this.#deps.onChange(name === 'revoked' ? toRevocation(value, String(at)) : (JSON.parse(value) as DirectoryChange));
  }

  async #tellAll(version: number): Promise<void> {
    await this.#tellRevocations();
    const all = await this.#deps.redis.do((client) => client.hgetall(ROLES));
    for (const [field, json] of Object.entries(all)) {
      const [orgId, userId] = JSON.parse(field) as [string, string];
      this.#deps.onChange({ kind: 'roles', orgId, userId, ...(JSON.parse(json) as SeenRoles) });
    }
    this.#version = version;
    this.#last = undefined;
  }

  async #tellRevocations(): Promise<void> {
    const all = await this.#deps.redis.do((client) => client.hgetall(REVOCATIONS));
    for (const [field, at] of Object.entries(all)) this.#deps.onChange(toRevocation(field, at));
  }
}

const toText = ([, fields]: Entry): string => JSON.stringify(fields);

const toVersion = ([id]: Entry): number => Number(id.split('-')[0]);

function toRevocation(field: string, at: string): Revocation {
  const [kind, orgId, id] = JSON.parse(field) as [Revocation['kind'], string, string];
  return { kind, orgId, id, at: Number(at) };
}
