/** Operational log. Never a prompt, a tool's input or output, a token or a key. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A logger that adds `fields` (request_id, session_id, turn_id …) to each record. */
  child(fields: Readonly<Record<string, unknown>>): Logger;
}
