/** Turns what ends a command or a connection into the one error class of the protocol. */
import { ERRORS, type ErrorBody, type ErrorCode, MidstreamError } from '../protocol/errors.js';

const isKnown = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code);

/** A refusal from the wire. A code of a newer server becomes the nearest one known, and stays in `details.code`. */
export function toError(body: Omit<ErrorBody, 'type' | 'code'> & { code: string }): MidstreamError {
  const { code, message, retryable, retry_after_ms, details } = body;
  const retryAfterMs = retry_after_ms;
  if (isKnown(code)) return new MidstreamError(code, message, { retryAfterMs, details });
  const band = retryable ? 'internal' : 'invalid_request';
  return new MidstreamError(band, message, { retryAfterMs, details: { ...details, code } });
}

/** A close code that says "mend something first", as an error whose message says what. */
export function toCloseError(closeCode: number, reason: string): MidstreamError {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  const row = (code: ErrorCode): { close?: number } => ERRORS[code];
  const code = codes.find((candidate) => row(candidate).close === closeCode) ?? 'invalid_request';
  const said = reason === '' ? '' : ` (${reason})`;
  const message = `The server closed the connection with ${closeCode}${said}. ${ERRORS[code].advice}`;
  return new MidstreamError(code, message, { details: { close_code: closeCode } });
}

/** The connection went before the reply came, and the command isn't one to be sent again. */
export const lostError = (): MidstreamError =>
  new MidstreamError('draining', 'The connection went before the reply came.', { details: { outcome: 'unknown' } });

/** The caller closed the client or the session. */
export const closedError = (what: 'client' | 'session'): MidstreamError =>
  new MidstreamError('draining', `The ${what} was closed. Make a new one to go on.`, {
    details: { closed_by: 'client', outcome: 'unknown' },
  });
