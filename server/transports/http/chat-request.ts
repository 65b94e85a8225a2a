/** Reads a one-shot chat request, and makes the commands that it stands for. */
import type { Request } from 'express';
import {
  type ChatRequest,
  chatRequestSchema,
  MidstreamError,
  parseBy,
  type Session,
  type SessionCreate,
  type UserMessage,
} from '../../../protocol/index.js';

const GONE_FIELDS = ['temperature', 'top_p', 'top_k'];

export function readChatRequest(req: Request): ChatRequest {
  const gone = GONE_FIELDS.find((field) => Object.hasOwn(req.body as object, field));
  if (gone !== undefined)
    throw new MidstreamError(
      'invalid_request',
      `${gone}: Claude's API no longer has temperature, top_p and top_k; leave it out`,
    );
  return parseBy(chatRequestSchema, req.body);
}

/** Whether the answer is a stream: as the body says, else it is. */
export const wantsStream = ({ stream }: ChatRequest): boolean => stream ?? true;

/** The session of a chat that names no conversation. What isn't given comes from the agent named `default`. */
export function toSessionCreate(id: string, { system_prompt, model, max_tokens }: ChatRequest): SessionCreate {
  const agent = {
    ...(system_prompt === undefined ? {} : { system: system_prompt }),
    ...(model === undefined ? {} : { model }),
    ...(max_tokens === undefined ? {} : { max_tokens }),
  };
  return { type: 'session.create', id, ...(Object.keys(agent).length === 0 ? {} : { agent }) };
}

export function toUserMessage(id: string, sessionId: string, chat: ChatRequest): UserMessage {
  const { message, model, max_tokens, tool_choice, tags, conversation_id } = chat;
  // A new session's agent has model and max_tokens already.
  const overrides = conversation_id === undefined ? {} : { model, max_tokens };
  const fields = Object.entries({ ...overrides, tool_choice, tags }).filter(([, value]) => value !== undefined);
  return {
    type: 'user.message',
    id,
    session_id: sessionId,
    content: [{ type: 'text', text: message }],
    ...Object.fromEntries(fields),
  };
}

/** A conversation keeps the system prompt that it began with. */
export function checkSystemPrompt({ system_prompt }: ChatRequest, session: Session): void {
  if (system_prompt === undefined || system_prompt === (session.agent.system ?? '')) return;
  const message = 'system_prompt: this conversation began with another one; leave it out, or begin a new conversation';
  throw new MidstreamError('invalid_request', message);
}
