/** Where a credential stands in the headers of a request. Never in its URL. */
import type { IncomingHttpHeaders } from 'node:http';

/** `Authorization: Bearer …` first, then `X-API-Key`. */
export function readCredential(headers: IncomingHttpHeaders): string | undefined {
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '');
  if (bearer) return bearer[1];
  const key = headers['x-api-key'];
  return typeof key === 'string' && key !== '' ? key : undefined;
}
