/** Chooses the step of a script that answers a request, and fills in what the script leaves open. */
import type { ModelRequest } from '../../ports/model.js';
import type { Place } from './conversation.js';
import { sampleInput } from './sample-input.js';
import type { Script, ScriptBlock, ScriptStep } from './script.js';

const say = (text: string): ScriptStep => ({ blocks: [{ type: 'text', text }] });

export function chooseStep(script: Script, place: Place): ScriptStep {
  const turn = script.turns.find(({ match }) => isMatch(match, place)) ?? script.fallback;
  if (!turn) return say(`The script has no turn for prompt ${place.turn}: "${place.prompt}".`);
  const step = turn.steps[place.round];
  if (step) return step;
  const last = turn.steps.at(-1) as ScriptStep;
  // Beyond its end a script that calls tools would call them for ever.
  return last.blocks.some((block) => block.type === 'tool_use') ? say('Done.') : last;
}

function isMatch(match: Script['turns'][number]['match'], { turn, prompt }: Place): boolean {
  if (match?.turn !== undefined && match.turn !== turn) return false;
  return match?.text === undefined || new RegExp(match.text, match.flags).test(prompt);
}

/** As the Messages API does it: a forced tool is called, and without tools none is. */
export function applyToolChoice(step: ScriptStep, { toolChoice, tools }: ModelRequest, place: Place): ScriptStep {
  if (!toolChoice || toolChoice.type === 'auto') return step;
  if (toolChoice.type === 'none') return { ...step, blocks: step.blocks.filter((block) => block.type !== 'tool_use') };
  const isForced = (name: string): boolean => toolChoice.type === 'any' || toolChoice.name === name;
  if (step.blocks.some((block) => block.type === 'tool_use' && isForced(block.name))) return step;
  const tool = tools.find(({ name }) => isForced(name));
  if (!tool) return step;
  const { stop_reason: _, ...rest } = step;
  return {
    ...rest,
    blocks: [{ type: 'tool_use', name: tool.name, input: sampleInput(tool.input_schema, place.prompt) }],
  };
}

/** Replaces `{{last_user_text}}` and `{{tool_result}}`, in what is said and in the inputs of tools. */
export function fillTemplates(step: ScriptStep, place: Place): ScriptStep {
  const fill = (text: string): string =>
    text.replace(/\{\{(last_user_text|tool_result)\}\}/g, (_, name) =>
      name === 'tool_result' ? place.toolResult : place.lastUserText,
    );
  return { ...step, blocks: step.blocks.map((block) => fillBlock(block, fill)) };
}

function fillBlock(block: ScriptBlock, fill: (text: string) => string): ScriptBlock {
  switch (block.type) {
    case 'text':
      return { ...block, text: fill(block.text) };
    case 'thinking':
      return { ...block, thinking: fill(block.thinking) };
    case 'tool_use':
      return { ...block, input: fillDeep(block.input, fill) as Record<string, unknown> };
  }
}

function fillDeep(value: unknown, fill: (text: string) => string): unknown {
  if (typeof value === 'string') return fill(value);
  if (Array.isArray(value)) return value.map((item) => fillDeep(item, fill));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillDeep(item, fill)]));
}
