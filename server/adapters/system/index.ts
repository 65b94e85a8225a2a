/** What the operating system gives: time and randomness. */
export { systemClock } from './clock.js';
export { createNewId } from './new-id.js';
export { newTicket } from './new-ticket.js';
