/** The form in which answers to commands are kept. */
import type { CommandResult } from '../../../protocol/index.js';
import type { CommandAnswer } from '../../ports/event-log.js';

export type AnswerKey = Pick<CommandAnswer, 'sessionId' | 'userId' | 'orgId' | 'commandId'>;

type Kept = [bodyHash: string, result: CommandResult, appliedAtSeq: number | null, acceptedAt: number, made?: string];

export const toAnswerField = ({ orgId, userId, commandId }: AnswerKey): string =>
  JSON.stringify([orgId, userId, commandId]);

/** `made`: the session that the command is making; left out once it is there. */
export function toAnswerJson(answer: CommandAnswer, made?: string): string {
  const { bodyHash, result, appliedAtSeq, acceptedAt } = answer;
  const kept: Kept = [bodyHash, result, appliedAtSeq ?? null, acceptedAt];
  if (made !== undefined) kept.push(made);
  return JSON.stringify(kept);
}

export function fromAnswerJson(key: AnswerKey, json: string): { answer: CommandAnswer; made: string | undefined } {
  const { sessionId, userId, orgId, commandId } = key;
  const [bodyHash, result, appliedAtSeq, acceptedAt, made] = JSON.parse(json) as Kept;
  const said = { bodyHash, appliedAtSeq: appliedAtSeq ?? undefined, result, acceptedAt };
  return { answer: { sessionId, userId, orgId, commandId, ...said }, made };
}
