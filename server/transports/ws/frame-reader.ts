/** Turns the bytes of one WebSocket message into a command, a refusal that can be answered, or nothing usable. */
import {
  type ClientFrame,
  clientFrameSchema,
  commandIdSchema,
  type Limits,
  MidstreamError,
  toSentence,
} from '../../../protocol/index.js';
import { hasMedia, isDeeperThan, readTopStrings } from '../json-text.js';

export type ReadFrame =
  | { readonly kind: 'command'; readonly command: ClientFrame }
  | {
      readonly kind: 'refused';
      readonly id: string;
      readonly sessionId: string | undefined;
      readonly error: MidstreamError;
    }
  | { readonly kind: 'unreadable'; readonly reason: string };

const KNOWN_TYPES: readonly string[] = clientFrameSchema.options.map((option) => option.shape.type.value);

const isId = (value: unknown): value is string => commandIdSchema.safeParse(value).success;

function refuse(id: unknown, sessionId: unknown, error: MidstreamError): ReadFrame {
  if (!isId(id)) return { kind: 'unreadable', reason: 'A frame needs an id of 1–64 characters of A-Z a-z 0-9 _ -' };
  return { kind: 'refused', id, sessionId: typeof sessionId === 'string' ? sessionId.slice(0, 200) : undefined, error };
}

const invalid = (message: string): MidstreamError => new MidstreamError('invalid_request', message);

export function readFrame(data: Buffer, isBinary: boolean, limits: Limits): ReadFrame {
  if (isBinary) return { kind: 'unreadable', reason: 'Frames are text; this one was binary' };
  const text = data.toString('utf8');
  if (isDeeperThan(text, limits.json_depth)) {
    const { id, session_id } = readTopStrings(text, ['id', 'session_id']);
    return refuse(id, session_id, invalid(`The frame nests deeper than ${limits.json_depth} levels; flatten it`));
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { kind: 'unreadable', reason: 'A frame is one JSON object; this one is not JSON' };
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    return { kind: 'unreadable', reason: 'A frame is one JSON object' };
  const { id, session_id, type } = parsed as { id?: unknown; session_id?: unknown; type?: unknown };
  if (data.length > limits.frame_bytes && !hasMedia(parsed)) {
    const message = `The frame has ${data.length} bytes; without an image or a document at most ${limits.frame_bytes} are taken`;
    return refuse(id, session_id, new MidstreamError('payload_too_large', message));
  }
  const result = clientFrameSchema.safeParse(parsed);
  if (result.success) return { kind: 'command', command: result.data };
  if (typeof type !== 'string' || !KNOWN_TYPES.includes(type))
    return refuse(id, session_id, invalid(`type: must be one of ${KNOWN_TYPES.join(', ')}`));
  return refuse(id, session_id, invalid(toSentence(result.error)));
}
