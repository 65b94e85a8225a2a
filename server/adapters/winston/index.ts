/** The operational log, as JSON lines. */
export { createLogger, type LoggerOptions, type LogLevel, silentLogger } from './logger.js';
