/** Makes the text of a one-time ticket: 256 random bits, in letters that a subprotocol and a URL may hold. */
import { randomBytes } from 'node:crypto';

const TICKET_BYTES = 32;

export const newTicket = (): string => randomBytes(TICKET_BYTES).toString('base64url');
