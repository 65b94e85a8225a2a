import {
  createFunctionTools,
  type FunctionTool,
  type FunctionToolContext,
} from '../../server/adapters/function-tools/function-tools.js';
import type { ToolAnswer, ToolContext } from '../../server/ports/tool-runner.js';

const CALL = {
  tool_use_id: 'sevt_1',
  name: 'tool',
  input: { q: 'x' },
  session_id: 'sesn_1',
  turn_id: 'turn_1',
  user_id: 'ada',
};
const tool = (run: FunctionTool['run'], more: Partial<FunctionTool> = {}): FunctionTool => ({
  name: 'tool',
  description: 'A tool.',
  input_schema: { type: 'object' },
  run,
  ...more,
});
const call = (one: FunctionTool, context: Partial<ToolContext> = {}): Promise<ToolAnswer> =>
  createFunctionTools([one]).run(CALL, { signal: new AbortController().signal, progress: () => {}, ...context });

const text = (value: string) => [{ type: 'text', text: value }];

describe('createFunctionTools', () => {
  it('gives the function its input and who calls', async () => {
    let seen: unknown[] = [];
    await call(
      tool((input, { signal, progress, ...ids }) => {
        seen = [input, ids, signal.aborted, typeof progress];
      }),
    );
    const { name: _, input, ...ids } = CALL;
    expect(seen).toEqual([input, ids, false, 'function']);
  });

  it.each<[string, unknown, unknown]>([
    ['text', 'hello', text('hello')],
    ['a promise', Promise.resolve('later'), text('later')],
    ['nothing', undefined, []],
    ['blocks', [{ type: 'text', text: 'a' }], text('a')],
    ['an envelope', { content: 'b' }, text('b')],
    ['JSON', { rows: [1, 2] }, text('{"rows":[1,2]}')],
    ['a list', [1, 2], text('[1,2]')],
    ['an empty list', [], text('[]')],
    ['a number', 0, text('0')],
    ['false', false, text('false')],
    ['a time', new Date(0), text('"1970-01-01T00:00:00.000Z"')],
  ])('takes %s for an answer', async (_, value, content) => {
    expect(await call(tool(() => value))).toEqual({ content, is_error: false, outcome: 'ok' });
  });

  it.each<[string, () => unknown, string]>([
    [
      'throws',
      () => {
        throw new Error('no such file');
      },
      'no such file',
    ],
    ['rejects', () => Promise.reject(new Error('no such row')), 'no such row'],
    ['rejects with no error', () => Promise.reject('text'), 'text'],
    [
      'throws without a message',
      () => {
        throw new Error();
      },
      'The tool failed.',
    ],
    ['says so itself', () => ({ content: 'own words', is_error: true }), 'own words'],
  ])('makes an error of a function that %s', async (_, run, message) => {
    expect(await call(tool(run))).toEqual({ content: text(message), is_error: true, outcome: 'error' });
  });

  it('makes an error of what no JSON can hold', async () => {
    const loop: { self?: unknown } = {};
    loop.self = loop;
    expect(await call(tool(() => loop))).toMatchObject({ is_error: true, outcome: 'error' });
    expect(await call(tool(() => 1n))).toMatchObject({ is_error: true, outcome: 'error' });
  });

  it('[CAN-5] answers as cancelled at once, and tells the function', async () => {
    const cancelling = new AbortController();
    let inside: FunctionToolContext | undefined;
    const answer = call(
      tool((_, context) => {
        inside = context;
        return new Promise(() => {});
      }),
      { signal: cancelling.signal },
    );
    await Promise.resolve().then();
    cancelling.abort();
    expect(await answer).toMatchObject({ is_error: true, outcome: 'cancelled' });
    expect(inside?.signal.aborted).toBe(true);
  });

  it('does not run what was cancelled before', async () => {
    const run = jest.fn();
    expect(await call(tool(run), { signal: AbortSignal.abort() })).toMatchObject({ outcome: 'cancelled' });
    expect(run).not.toHaveBeenCalled();
  });

  it('ignores what a function does after its end', async () => {
    const updates: unknown[] = [];
    const cancelling = new AbortController();
    let late: () => void = () => {};
    const answer = call(
      tool((_, { progress }) => {
        progress({ percent: 10 });
        return new Promise((resolve) => {
          late = () => {
            progress({ percent: 90 });
            resolve('late');
          };
          cancelling.abort();
        });
      }),
      { signal: cancelling.signal, progress: (update) => updates.push(update) },
    );
    expect(await answer).toMatchObject({ outcome: 'cancelled' });
    late();
    expect(updates).toEqual([{ percent: 10 }]);
  });

  it('times out where the tool has a time, and tells the function', async () => {
    let signal: AbortSignal | undefined;
    const answer = await call(
      tool(
        (_, context) => {
          signal = context.signal;
          return new Promise(() => {});
        },
        { timeout_ms: 20 },
      ),
    );
    expect(answer).toEqual({
      content: text('The tool did not answer within 20 ms.'),
      is_error: true,
      outcome: 'timeout',
    });
    expect(signal?.aborted).toBe(true);
  });

  it('leaves no timer and no listener behind', async () => {
    const signal = new AbortController().signal;
    const removed = jest.spyOn(signal, 'removeEventListener');
    const clear = jest.spyOn(globalThis, 'clearTimeout');
    await call(
      tool(() => 'x', { timeout_ms: 60_000 }),
      { signal },
    );
    expect(removed).toHaveBeenCalledTimes(1);
    expect(clear).toHaveBeenCalledWith(expect.objectContaining({ _idleTimeout: expect.any(Number) }));
    clear.mockRestore();
  });

  it('defines tools with their names for labels, not idempotent unless they say so', () => {
    const { definitions } = createFunctionTools([
      tool(() => 1),
      tool(() => 1, { name: 'b', label: 'B…', idempotent: true }),
    ]);
    expect(definitions).toEqual([
      { name: 'tool', description: 'A tool.', input_schema: { type: 'object' }, label: 'tool', idempotent: false },
      { name: 'b', description: 'A tool.', input_schema: { type: 'object' }, label: 'B…', idempotent: true },
    ]);
  });

  it('refuses two tools of one name, and a call of none', async () => {
    expect(() => createFunctionTools([tool(() => 1), tool(() => 2)])).toThrow('two tools named "tool"');
    const answer = await createFunctionTools([]).run(CALL, {
      signal: new AbortController().signal,
      progress: () => {},
    });
    expect(answer).toMatchObject({ is_error: true, outcome: 'error' });
  });
});
