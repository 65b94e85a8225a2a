/** Bodies of the routes that make tickets and revoke credentials. */
import { z } from 'zod';

export const ticketBodySchema = z.strictObject({});

const name = z.string().min(1).max(200);

export const revocationBodySchema = z
  .strictObject({
    /** All credentials of this user. */
    user_id: name.optional(),
    /** The one credential of this name: an API key's `id`, a token's `jti`. */
    key_id: name.optional(),
    reason: z.string().max(200).optional(),
  })
  .refine((body) => (body.user_id === undefined) !== (body.key_id === undefined), {
    message: 'name either user_id or key_id',
  });
