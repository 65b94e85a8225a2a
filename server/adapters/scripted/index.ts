/** The scripted model, for demos and for tests of what is built on this server. */
export { parseScript, type Script, ScriptError, type ScriptInput, type ScriptMistake } from './script.js';
export { createScriptedModel, type ScriptedModelOptions } from './scripted-model.js';
