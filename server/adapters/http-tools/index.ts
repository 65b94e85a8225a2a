/** Server tools behind HTTP. */
export { createHttpTools, type HttpTools } from './http-tools.js';
