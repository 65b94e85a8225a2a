/** Server tools behind HTTP. */
export { createHttpTools, type HttpToolConfig, type HttpTools, type HttpToolsDeps } from './http-tools.js';
