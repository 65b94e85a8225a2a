import { parseScript, ScriptError } from '../../server/adapters/scripted/index.js';

const mistakesOf = (json: unknown): string[] => {
  try {
    parseScript(json);
  } catch (error) {
    if (error instanceof ScriptError) return error.mistakes.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
};

describe('parseScript', () => {
  it('takes a script, and fills in defaults', () => {
    expect(parseScript({ turns: [{ steps: [{ blocks: [{ type: 'tool_use', name: 'a' }] }, {}] }] })).toEqual({
      turns: [{ steps: [{ blocks: [{ type: 'tool_use', name: 'a', input: {} }] }, { blocks: [] }] }],
    });
  });

  it('reports all mistakes at once, each with its path', () => {
    expect(
      mistakesOf({
        turns: [
          { match: { turn: 0, text: '(' }, steps: [] },
          { match: { text: 'a', flags: 'g' }, steps: [{ blocks: [{ type: 'text', txt: 'x', tokens_per_second: 0 }] }] },
          { steps: [{ error: { kind: 'overload' }, blocks: [{ type: 'tool', name: 'x' }] }] },
        ],
        fallbck: {},
      }).map((mistake) => mistake.split(':')[0]),
    ).toEqual([
      'turns[0].match.turn',
      'turns[0].match.text',
      'turns[0].steps',
      'turns[1].match.flags',
      'turns[1].steps[0].blocks[0].text',
      'turns[1].steps[0].blocks[0].tokens_per_second',
      'turns[1].steps[0].blocks[0]',
      'turns[2].steps[0].blocks[0].type',
      'turns[2].steps[0].error.kind',
      'script',
    ]);
  });

  it('puts them into its message', () => {
    expect(() => parseScript([])).toThrow(/^The script has mistakes:\n {2}script: /);
  });
});
