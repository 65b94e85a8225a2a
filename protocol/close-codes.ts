/** WebSocket close codes: 44xx say "mend something first", 1001, 1006 and 45xx "connect again and resume". */
export const CLOSE = {
  draining: 1001,
  tooLarge: 1009,
  invalidFrame: 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  silentPeer: 4408,
  commandRate: 4429,
  internal: 4500,
  slowConsumer: 4508,
} as const;

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/** Whether a client should reconnect by itself after this close code. */
export function isReconnectable(code: number): boolean {
  return !(code === CLOSE.tooLarge || (code >= 4400 && code < 4500 && code !== CLOSE.silentPeer));
}
