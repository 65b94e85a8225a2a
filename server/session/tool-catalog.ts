/** All server tools under one roof: whoever brings them, each name once. */
import type { ToolRunner } from '../ports/tool-runner.js';

/** Throws where two runners bring the same name. */
export function createToolCatalog(runners: readonly ToolRunner[]): ToolRunner {
  const byName = new Map<string, ToolRunner>();
  for (const runner of runners)
    for (const { name } of runner.definitions) {
      if (byName.has(name)) throw new Error(`Two server tools are named ${name}. Rename one of them.`);
      byName.set(name, runner);
    }
  return {
    definitions: runners.flatMap((runner) => runner.definitions),
    async run(call, context) {
      const runner = byName.get(call.name);
      if (runner) return runner.run(call, context);
      const text = `There is no tool named ${call.name} on this server any more.`;
      return { content: [{ type: 'text', text }], is_error: true, outcome: 'error' };
    },
  };
}
