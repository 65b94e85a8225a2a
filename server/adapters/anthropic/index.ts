/** The Messages API as a model. */
export { type AnthropicModel, type AnthropicModelParts, createAnthropicModel } from './anthropic-model.js';
export type { StreamLimits } from './exchange.js';
