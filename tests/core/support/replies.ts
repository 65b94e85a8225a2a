/** Short ways to say what a model streams, for table tests. */
import type { ModelEvent } from '../../../server/core/model-stream.js';
import type { World } from './world.js';

const usage = { input_tokens: 10, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

export const start: ModelEvent = { type: 'message_start', usage };

export function text(index: number, ...parts: string[]): ModelEvent[] {
  return [
    { type: 'block_start', index, block: { type: 'text', text: '' } },
    ...parts.map((part): ModelEvent => ({ type: 'text', index, text: part })),
    { type: 'block_stop', index },
  ];
}

export function openText(index: number, ...parts: string[]): ModelEvent[] {
  return text(index, ...parts).slice(0, -1);
}

export function thinking(index: number, thought: string): ModelEvent[] {
  return [
    { type: 'block_start', index, block: { type: 'thinking', thinking: '', signature: '' } },
    { type: 'thinking', index, text: thought },
    { type: 'signature', index, signature: `sig of ${thought}` },
    { type: 'block_stop', index },
  ];
}

export function call(
  index: number,
  name: string,
  input: object | string = {},
  id = `toolu_${name}_${index}`,
): ModelEvent[] {
  const json = typeof input === 'string' ? input : JSON.stringify(input);
  return [
    { type: 'block_start', index, block: { type: 'tool_use', id, name, input: {} } },
    { type: 'input_json', index, json },
    { type: 'block_stop', index },
  ];
}

/** Streams events of the request that runs, without ending it. */
export function stream(world: World, ...events: (ModelEvent | ModelEvent[])[]): void {
  world.admit();
  world.input({ type: 'model_events', key: world.request.key, events: events.flat() });
}

/** Streams a whole reply. */
export function reply(world: World, stopReason: string, ...events: (ModelEvent | ModelEvent[])[]): void {
  stream(world, start, ...events, { type: 'message_delta', stopReason, usage: { output_tokens: 7 } });
  world.input({ type: 'model_ended', key: world.request.key, end: { type: 'complete' } });
  world.admit();
}

/** Ends a server tool that runs. */
export function endTool(world: World, name: string, result = 'found'): void {
  const at = world.effects.findIndex((e) => e.type === 'run_tool' && e.name === name);
  const [effect] = world.effects.splice(at, 1);
  if (effect?.type !== 'run_tool') throw new Error(`${name} does not run`);
  const content = [{ type: 'text', text: result }];
  world.input({ type: 'tool_ended', toolUseId: effect.toolUseId, result: { content, is_error: false, outcome: 'ok' } });
  world.admit();
}
