/** Server tools that are functions of this process. */
import type { ToolAnswer, ToolCall, ToolContext, ToolDefinition, ToolRunner } from '../../ports/tool-runner.js';
import { CANCELLED_ANSWER, toErrorAnswer, toTimeoutAnswer, toToolAnswer } from '../tool-answer.js';

export interface FunctionToolContext extends ToolContext, Omit<ToolCall, 'name' | 'input'> {}

export interface FunctionTool {
  readonly name: string;
  readonly description: string;
  readonly input_schema: Readonly<Record<string, unknown>>;
  /** What people see while it runs; without one its name. */
  readonly label?: string;
  /** Whether a call that may have run can be run again (NODE-2). */
  readonly idempotent?: boolean;
  /** Time for one call; without one only the turn's deadline ends it. */
  readonly timeout_ms?: number;
  /**
   * Gives back text, content blocks, `{ content, is_error? }` or any JSON value. What it throws is told to the model as an
   * error, by its message. `signal` fires when the call is cancelled or late; the answer doesn't wait for the function then.
   */
  // biome-ignore lint/suspicious/noExplicitAny: its input fits the tool's own schema, which only its author can name as a type.
  run(input: any, context: FunctionToolContext): unknown;
}

export function createFunctionTools(tools: readonly FunctionTool[]): ToolRunner {
  const byName = new Map<string, FunctionTool>();
  for (const tool of tools) {
    if (byName.has(tool.name)) throw new Error(`There are two tools named "${tool.name}".`);
    byName.set(tool.name, tool);
  }
  return {
    definitions: tools.map(toDefinition),
    run: async (call, context) => {
      const tool = byName.get(call.name);
      return tool ? runTool(tool, call, context) : toErrorAnswer(`There is no tool "${call.name}".`);
    },
  };
}

function toDefinition({
  name,
  description,
  label = name,
  input_schema,
  idempotent = false,
}: FunctionTool): ToolDefinition {
  return { name, description, label, input_schema, idempotent };
}

function runTool(tool: FunctionTool, call: ToolCall, context: ToolContext): Promise<ToolAnswer> {
  const { timeout_ms: timeoutMs } = tool;
  if (context.signal.aborted) return Promise.resolve(CANCELLED_ANSWER);
  return new Promise((resolve) => {
    const ending = new AbortController();
    let isOver = false;
    const end = (answer: ToolAnswer): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      context.signal.removeEventListener('abort', cancel);
      resolve(answer);
    };
    const cancel = (): void => {
      end(CANCELLED_ANSWER);
      ending.abort(context.signal.reason);
    };
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            end(toTimeoutAnswer(timeoutMs));
            ending.abort(new Error(`timeout after ${timeoutMs} ms`));
          }, timeoutMs);
    context.signal.addEventListener('abort', cancel, { once: true });
    const { input, name: _, ...ids } = call;
    const progress: ToolContext['progress'] = (update) => {
      if (!isOver) context.progress(update);
    };
    // Through a promise, so that what a function throws at once is caught like what it throws later.
    Promise.resolve()
      .then(() => tool.run(input, { ...ids, signal: ending.signal, progress }))
      .then(toToolAnswer)
      .then(end, (error: unknown) => end(toErrorAnswer(toText(error))));
  });
}

function toText(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message === '' ? 'The tool failed.' : message;
}
