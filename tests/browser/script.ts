/** What the scripted model says in the tests of the page, and the server tools that it calls. */
import type { FunctionTool } from '../../server/adapters/function-tools/index.js';

const say = (text: string, tokensPerSecond?: number) => ({
  type: 'text' as const,
  text,
  ...(tokensPerSecond !== undefined && { tokens_per_second: tokensPerSecond }),
});
const call = (name: string, input: object) => ({ type: 'tool_use' as const, name, input });

/** Long enough to be stopped, steered and reconnected to. */
export const LONG_ANSWER = Array.from({ length: 200 }, (_, at) => `Sentence ${at + 1} of a long answer.`).join(' ');

export const ATTACK = '<img src=x onerror="window.attacked = true"><script>window.attacked = true</script>';

export const script = {
  turns: [
    {
      match: { text: 'think' },
      steps: [
        {
          blocks: [
            { type: 'thinking', thinking: 'A ferry needs a rope.' },
            say('Use a rope:\n\n```js\nconst rope = "long";\n```\n\nThat is all.'),
          ],
        },
      ],
    },
    { match: { text: 'long' }, steps: [{ blocks: [say(LONG_ANSWER, 60)] }] },
    {
      match: { text: 'steps' },
      steps: [
        { blocks: [say('First I look.'), call('slow_search', { query: 'ferries' })] },
        { blocks: [say('Then I answer.')] },
      ],
    },
    {
      match: { text: 'note' },
      steps: [
        { blocks: [say('I will write that down.'), call('edit_note', { text: 'Buy rope.' })] },
        { blocks: [say('It is in the note.')] },
      ],
    },
    {
      match: { text: 'send' },
      steps: [
        { blocks: [call('send_mail', { to: 'bob@example.com', subject: 'Rope' })] },
        { blocks: [say('The mail is on its way.')] },
      ],
    },
    { match: { text: 'attack' }, steps: [{ blocks: [say(ATTACK)] }] },
  ],
  fallback: { steps: [{ blocks: [say('As you like.')] }] },
};

export const config = {
  roles: {
    admin: {
      tools: { allow: ['slow_search', 'edit_*'], ask: ['send_*'] },
      models: ['*'],
      approve: ['*'],
    },
  },
  client_tools: ['edit_*'],
};

/** `slow_search` runs until `release()`; `sent` is what `send_mail` was run with. */
export function createPageTools() {
  const sent: unknown[] = [];
  let release: () => void = () => {};
  const tools: FunctionTool[] = [
    {
      name: 'slow_search',
      description: 'Searches.',
      label: 'Searching the archive',
      input_schema: { type: 'object', properties: { query: { type: 'string' } } },
      run: (_, { signal, progress }) => {
        progress({ message: 'Half of the shelves', percent: 50 });
        return new Promise((resolve) => {
          release = () => resolve('Three ferries.');
          signal.addEventListener('abort', () => resolve('stopped'));
        });
      },
    },
    {
      name: 'send_mail',
      description: 'Sends a mail.',
      label: 'Sending a mail',
      input_schema: { type: 'object', properties: { to: { type: 'string' }, subject: { type: 'string' } } },
      run: (input) => {
        sent.push(input);
        return 'sent';
      },
    },
  ];
  return { tools, sent, release: () => release() };
}
