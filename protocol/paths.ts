/** The paths of the server. Free of zod, so that clients may import it. */
export const PATHS = {
  ws: '/v1/ws',
  sessions: '/v1/sessions',
  session: (id: string) => `/v1/sessions/${encodeURIComponent(id)}`,
  events: (id: string) => `/v1/sessions/${encodeURIComponent(id)}/events`,
  stream: (id: string) => `/v1/sessions/${encodeURIComponent(id)}/events/stream`,
  messages: (id: string) => `/v1/sessions/${encodeURIComponent(id)}/messages`,
  members: (id: string) => `/v1/sessions/${encodeURIComponent(id)}/members`,
  member: (id: string, userId: string) =>
    `/v1/sessions/${encodeURIComponent(id)}/members/${encodeURIComponent(userId)}`,
  conversation: (id: string) => `/v1/conversations/${encodeURIComponent(id)}`,
  chat: '/v1/chat',
  feedback: '/v1/feedback',
  tools: '/v1/tools',
  toolCall: (name: string) => `/v1/tools/${encodeURIComponent(name)}/call`,
  audit: '/v1/audit',
  revocations: '/v1/revocations',
  tickets: '/v1/ws-tickets',
  health: '/health',
  ready: '/ready',
} as const;
