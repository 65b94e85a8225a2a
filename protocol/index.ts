/** The wire, defined once: commands, events, resources, errors and limits. */
export * from './audit.js';
export * from './chat.js';
export * from './close-codes.js';
export * from './commands.js';
export * from './content.js';
export * from './credentials.js';
export * from './cursor.js';
export * from './errors.js';
export * from './events.js';
export * from './frames.js';
export * from './limits.js';
export * from './members.js';
export * from './parse.js';
export * from './paths.js';
export * from './resources.js';
