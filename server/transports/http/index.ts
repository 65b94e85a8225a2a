/** The HTTP transport. */
export { createHttpApp } from './http-app.js';
export type { HttpDeps, Page, Probes } from './http-deps.js';
