/** The operational log by winston: one JSON line per record, `ts`, `level`, `msg`, then the fields. */
import winston from 'winston';
import type { Logger } from '../../ports/logger.js';

export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug';

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Where the lines go; standard output by default. */
  readonly stream?: NodeJS.WritableStream;
}

type Fields = Readonly<Record<string, unknown>>;
type RecordLevel = Exclude<LogLevel, 'silent'>;

export function createLogger({ level, stream = process.stdout }: LoggerOptions): Logger {
  if (level === 'silent') return silentLogger;
  const sink = winston.createLogger({
    level,
    levels: { error: 0, warn: 1, info: 2, debug: 3 },
    format: winston.format.printf(({ record }) => toLine(record as Fields)),
    transports: [new winston.transports.Stream({ stream })],
  });
  const write = (recordLevel: RecordLevel, message: string, bound: Fields, fields: Fields | undefined): void => {
    if (!sink.isLevelEnabled(recordLevel)) return;
    // Fields come first in the merge: none of them may pass for the time, the level or the message.
    const own = { ts: new Date().toISOString(), level: recordLevel, msg: message };
    sink.log({ level: recordLevel, message, record: { ...own, ...bound, ...fields, ...own } });
  };
  return bind(write, {});
}

function bind(
  write: (level: RecordLevel, message: string, bound: Fields, fields: Fields | undefined) => void,
  bound: Fields,
): Logger {
  return {
    debug: (message, fields) => write('debug', message, bound, fields),
    info: (message, fields) => write('info', message, bound, fields),
    warn: (message, fields) => write('warn', message, bound, fields),
    error: (message, fields) => write('error', message, bound, fields),
    child: (fields) => bind(write, { ...bound, ...fields }),
  };
}

const ignore = (): void => {};

export const silentLogger: Logger = {
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ignore,
  child: () => silentLogger,
};

/** Never throws: a record that can't be written as JSON must not take down what it tells about. */
function toLine(record: Fields): string {
  try {
    return JSON.stringify(record, toJson);
  } catch {
    const { ts, level, msg } = record;
    return JSON.stringify({ ts, level, msg, unserialisable: Object.keys(record).slice(3) });
  }
}

function toJson(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (!(value instanceof Error)) return value;
  const { name, message, stack, cause } = value;
  const { code } = value as NodeJS.ErrnoException;
  return { name, message, ...(code === undefined ? {} : { code }), stack, ...(cause === undefined ? {} : { cause }) };
}
