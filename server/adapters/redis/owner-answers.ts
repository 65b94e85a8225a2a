/**
 * Sessions of an owner, and the answers to the commands that made them (CMD-2). Both are under the owner's tag, the
 * session is under its own: so a session is admitted here first, with an answer that names it as being made; then it is
 * made; then the answer is settled. A crash in between leaves an answer whose session is or isn't there, and whoever
 * reads it looks.
 */
import { BOUNDS } from '../../../protocol/index.js';
import { type CommandAnswer, LogUnavailable } from '../../ports/event-log.js';
import type { SessionRow } from '../../ports/session-store.js';
import { type AnswerKey, fromAnswerJson, toAnswerField, toAnswerJson } from './answer-json.js';
import { keys } from './keys.js';
import type { StoreDoor } from './store-door.js';

/** After this long, in milliseconds, a session that is not there is not being made any more. */
const MAKING_MS = 10_000;

export class OwnerAnswers {
  readonly #door: StoreDoor;

  constructor(door: StoreDoor) {
    this.#door = door;
  }

  async find(key: AnswerKey): Promise<CommandAnswer | undefined> {
    const args = [toAnswerField(key), BOUNDS.dedupeMs];
    const json = await this.#door.run('answer-find', [keys.ownerAnswers(key), keys.ownerAnswerTimes(key)], args);
    if (json === null) return undefined;
    const { answer, made } = fromAnswerJson(key, String(json));
    if (made === undefined) return answer;
    if (!(await this.#isThere(made))) return undefined;
    await this.#replace(answer, String(json), toAnswerJson(answer));
    return answer;
  }

  /** Lists a session that is about to be made. Rejects where the command has made one. */
  async admit(row: SessionRow, answer: CommandAnswer | undefined): Promise<'new' | 'listed'> {
    const said = answer && [toAnswerField(answer), answer.acceptedAt, toAnswerJson(answer, row.id)];
    let replaced = '';
    for (;;) {
      const [outcome, known, now] = (await this.#door.run(
        'owner-admit',
        [keys.memberSessions(row), keys.ownerAnswers(row), keys.ownerAnswerTimes(row)],
        [row.id, row.createdAt, BOUNDS.dedupeMs, ...(said ? [...said, replaced] : [])],
      )) as ['new' | 'listed'] | ['answered', string, string];
      if (outcome !== 'answered') return outcome;
      await this.#refuseWhereMade(answer as CommandAnswer, String(known), Number(now));
      replaced = String(known);
    }
  }

  /** The session is there. */
  async settle(row: SessionRow, answer: CommandAnswer): Promise<void> {
    await this.#replace(answer, toAnswerJson(answer, row.id), toAnswerJson(answer));
  }

  /** The session was not made. */
  async withdraw(row: SessionRow, answer: CommandAnswer | undefined, admitted: 'new' | 'listed'): Promise<void> {
    if (answer) await this.#replace(answer, toAnswerJson(answer, row.id), '');
    if (admitted === 'new')
      await this.#door.do((redis) => redis.do((client) => client.zrem(keys.memberSessions(row), row.id)));
  }

  async #refuseWhereMade(answer: CommandAnswer, known: string, now: number): Promise<void> {
    const { made, answer: first } = fromAnswerJson(answer, known);
    const { commandId } = answer;
    if (made === undefined || (await this.#isThere(made)))
      throw new Error(`Command ${commandId} made a session before.`);
    if (now - first.acceptedAt < MAKING_MS)
      throw new LogUnavailable('store_failed', `Command ${commandId} is making a session.`);
  }

  #replace(key: AnswerKey, known: string, next: string): Promise<unknown> {
    const answers = [keys.ownerAnswers(key), keys.ownerAnswerTimes(key)];
    return this.#door.run('owner-settle', answers, [toAnswerField(key), known, next]);
  }

  async #isThere(sessionId: string): Promise<boolean> {
    return (
      (await this.#door.do((redis) => redis.do((client) => client.hexists(keys.session(sessionId), 'created')))) === 1
    );
  }
}
