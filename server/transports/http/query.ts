/** Reads query parameters: each as text, number or list; unknown ones are nobody's. */
import type { Request } from 'express';
import { MidstreamError } from '../../../protocol/index.js';

/** All values of a parameter, whether it was repeated, or written `name[]` as the official SDK does. */
export function listParam(req: Request, name: string): readonly string[] {
  return [req.query[name], req.query[`${name}[]`]].flat().filter((value) => typeof value === 'string');
}

export function textParam(req: Request, name: string): string | undefined {
  const value = req.query[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export interface WholeNumberBounds {
  readonly min: number;
  readonly max: number;
}

export function numberParam(req: Request, name: string, { min, max }: WholeNumberBounds): number | undefined {
  const text = textParam(req, name);
  if (text === undefined) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    throw new MidstreamError('invalid_request', `${name}: must be a whole number from ${min} to ${max}`);
  return value;
}

/** Milliseconds since 1970 of an RFC 3339 time. */
export function timeParam(req: Request, name: string): number | undefined {
  const text = textParam(req, name);
  if (text === undefined) return undefined;
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new MidstreamError('invalid_request', `${name}: must be an RFC 3339 time`);
  return ms;
}
