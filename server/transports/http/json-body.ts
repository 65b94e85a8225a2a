/** Reads a JSON body within the limits; what is wrong with it is said before anything else looks at it. */
import express, { type RequestHandler } from 'express';
import { type Limits, MidstreamError } from '../../../protocol/index.js';
import { hasMedia, isDeeperThan } from '../json-text.js';

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i;

export function jsonBody(limits: Limits): RequestHandler[] {
  const readBytes = express.raw({ type: () => true, limit: limits.frame_bytes_with_images, inflate: false });
  const parse: RequestHandler = (req, _res, next) => {
    const bytes = req.body as unknown;
    req.body = Buffer.isBuffer(bytes) && bytes.length > 0 ? parseBody(bytes, req.get('Content-Type'), limits) : {};
    next();
  };
  return [readBytes, parse];
}

function parseBody(bytes: Buffer, contentType: string | undefined, limits: Limits): unknown {
  if (contentType !== undefined && !JSON_TYPE.test(contentType))
    throw new MidstreamError('invalid_request', 'Send the body as JSON, with Content-Type: application/json');
  const text = bytes.toString('utf8');
  if (isDeeperThan(text, limits.json_depth))
    throw new MidstreamError('invalid_request', `The body nests deeper than ${limits.json_depth} levels; flatten it`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new MidstreamError('invalid_request', 'The body is not JSON');
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new MidstreamError('invalid_request', 'The body must be a JSON object');
  if (bytes.length > limits.frame_bytes && !hasMedia(parsed)) {
    const message = `The body has ${bytes.length} bytes; without an image or a document at most ${limits.frame_bytes} are taken`;
    throw new MidstreamError('payload_too_large', message);
  }
  return parsed;
}
