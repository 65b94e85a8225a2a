/** What embedders use: the server as a function of its configuration. */
export type { FunctionTool } from './adapters/function-tools/index.js';
export type { Script } from './adapters/scripted/index.js';
export { type App, type AppOverrides, createApp } from './app.js';
export { type Config, ConfigError, describeMistakes, parseConfig } from './config/index.js';
export type { Model, ModelEnd, ModelEvent, ModelRequest } from './ports/model.js';
