import type { Model } from '../../ports/model.js';
export type Script = object;
export const parseScript = (json: unknown): Script => json as Script;
export function createScriptedModel(_options: { script?: Script }): Model {
  throw new Error('not here yet');
}
