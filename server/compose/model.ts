/** Which model answers: the one given, Claude where there is a key, else the scripted one. */
import { createAnthropicModel } from '../adapters/anthropic/index.js';
import { createScriptedModel, type Script } from '../adapters/scripted/index.js';
import type { Config } from '../config/index.js';
import type { Logger } from '../ports/logger.js';
import type { Model } from '../ports/model.js';

export type ModelKind = 'anthropic' | 'scripted' | 'given';

export interface ModelOverrides {
  /** In place of the model that the configuration names. */
  readonly model?: Model;
  /** For the scripted model, where there is no key. */
  readonly script?: Script;
}

export interface ChosenModel {
  readonly model: Model;
  readonly kind: ModelKind;
  readonly close?: () => Promise<void>;
}

export function chooseModel(config: Config, overrides: ModelOverrides, logger: Logger): ChosenModel {
  if (overrides.model) return { model: overrides.model, kind: 'given' };
  const { apiKey, baseUrl } = config.anthropic;
  if (!apiKey || overrides.script) {
    const model = createScriptedModel(overrides.script ? { script: overrides.script } : {});
    return { model, kind: 'scripted' };
  }
  const { limits } = config;
  const model = createAnthropicModel({ apiKey: apiKey.reveal(), ...(baseUrl && { baseURL: baseUrl }), limits, logger });
  return { model, kind: 'anthropic', close: () => model.close() };
}
