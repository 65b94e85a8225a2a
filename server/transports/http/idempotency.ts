/** `Idempotency-Key` as the id of the command that a request makes (CMD-2). */
import { createHash } from 'node:crypto';
import type { Request } from 'express';
import { commandIdSchema, MidstreamError } from '../../../protocol/index.js';

const MAX_KEY_CHARS = 255;

/** The key of a request; undefined where it has none. */
export function readIdempotencyKey(req: Request): string | undefined {
  const key = req.get('Idempotency-Key');
  if (key === undefined) return undefined;
  if (key.trim() === '' || key.length > MAX_KEY_CHARS)
    throw new MidstreamError('invalid_request', `Idempotency-Key must have 1–${MAX_KEY_CHARS} characters`);
  return key;
}

const isCommandId = (text: string): boolean => commandIdSchema.safeParse(text).success;

const digest = (key: string): string => `key_${createHash('sha256').update(key).digest('base64url')}`;

/** A key as a command id: as it stands where it has the form of one, else by its digest. */
export function toCommandId(key: string): string {
  return isCommandId(key) ? key : digest(key);
}

/** The id of command `n` of a batch. */
export function toBatchCommandId(key: string, n: number): string {
  const id = `${key}_${n}`;
  return isCommandId(id) ? id : `${digest(key)}_${n}`;
}
