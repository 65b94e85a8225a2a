/** A position in one session's log, `<epoch>:<seq>`. Free of zod, so that clients may import it. */
export interface Cursor {
  readonly epoch: string;
  readonly seq: number;
}

export const toCursor = (epoch: string, seq: number): string => `${epoch}:${seq}`;

/** Reads a cursor; `undefined` where the text is none. */
export function parseCursor(text: string): Cursor | undefined {
  const match = /^([A-Za-z0-9_-]{1,64}):(\d{1,15})$/.exec(text);
  return match ? { epoch: match[1] as string, seq: Number(match[2]) } : undefined;
}
