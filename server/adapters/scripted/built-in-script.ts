/** What the scripted model says without a script: it introduces itself, and shows streaming and tools. */
import type { ModelRequest, ModelTool } from '../../ports/model.js';
import type { Place } from './conversation.js';
import { sampleInput } from './sample-input.js';
import type { ScriptStep } from './script.js';

const TOKENS_PER_SECOND = 40;

const INTRODUCTION = `Hello! I am the scripted model of Midstream. I am not an AI: I answer from a small script, so that you can try the server without a key and without cost. Everything around me is real, though. The words that you are reading were streamed one by one, written to a durable log before you saw them, and would be here again after a reload, in this window and in any other that watches this session.

This answer is a little long on purpose. Press Stop while I am talking: the turn ends at once, and what I have said so far stays. Send another message while I am talking: it waits for its turn, or, if you steer, it joins this one. Close the window: I go on without you, and you can read the rest when you come back.

Try one of these:
- "Say hello in exactly 3 words."
- "What time is it?", which calls a tool, if there is one that knows
- "Use a tool", which calls the first tool that I was given
- "Tell me a long story", to have time to press Stop

To talk to Claude instead of me, set ANTHROPIC_API_KEY in the environment of the server and start it again.`;

const STORY = [
  'Once upon a time there was a message that wanted to cross a river.',
  'The river was wide and its bridges kept breaking, so the message wrote a number on its back and told it to the ferryman.',
  '"If I fall in," it said, "ask for the next number, and nothing will be lost."',
  'The ferryman nodded, for he had a log of everything that had ever crossed.',
];

export function builtInStep(request: ModelRequest, place: Place): ScriptStep {
  const { prompt, round, toolResult, lastUserText } = place;
  if (round > 0) return say(summarise(toolResult, lastUserText === prompt ? '' : lastUserText));
  const words = /\b(?:in )?exactly (\d{1,3}) words?\b/i.exec(prompt);
  if (words) return say(sayIn(Number(words[1])));
  if (/\b(what|which) tools\b/i.test(prompt)) return say(listTools(request.tools));
  const tool = chooseTool(prompt, request.tools);
  if (tool) {
    const input = sampleInput(tool.input_schema, prompt);
    const intro = `I will call ${tool.name} for that.`;
    return { blocks: [...say(intro).blocks, { type: 'tool_use', name: tool.name, input }] };
  }
  if (/\b(tool|edit)s?\b/i.test(prompt)) return say('I would call a tool for that, but none was offered to me.');
  if (/\b(long|story|essay)\b/i.test(prompt)) return say(tellStory());
  return say(INTRODUCTION);
}

const say = (text: string): ScriptStep => ({
  blocks: [{ type: 'text', text, tokens_per_second: TOKENS_PER_SECOND }],
});

function chooseTool(prompt: string, tools: readonly ModelTool[]): ModelTool | undefined {
  const named = tools.find(({ name }) => prompt.toLowerCase().includes(name.toLowerCase()));
  if (named) return named;
  if (/\bwhat(?:'s| is)? (?:the )?time\b/i.test(prompt)) return tools.find(({ name }) => name === 'get_time');
  if (/\bedit/i.test(prompt)) return tools.find(({ name }) => /edit/i.test(name)) ?? tools[0];
  return /\btool\b/i.test(prompt) ? tools[0] : undefined;
}

const listTools = (tools: readonly ModelTool[]): string =>
  tools.length === 0
    ? 'None was offered to me.'
    : `I was offered: ${tools.map(({ name }) => name).join(', ')}. Name one, and I call it.`;

function summarise(toolResult: string, steered: string): string {
  const shown = toolResult.length > 500 ? `${toolResult.slice(0, 500)}…` : toolResult;
  const answer = shown === '' ? 'The tool answered with nothing.' : `The tool answered: ${shown}`;
  return steered === '' ? answer : `${answer}\n\nMeanwhile you said: ${steered}`;
}

function sayIn(count: number): string {
  if (count === 0) return '…';
  const words = ['Hello', 'there,', 'friend', ...Array.from({ length: Math.max(0, count - 3) }, () => 'hello')].slice(
    0,
    count,
  );
  return `${words.join(' ').replace(/,$/, '')}!`;
}

const tellStory = (): string => Array.from({ length: 12 }, (_, n) => `${n + 1}. ${STORY.join(' ')}`).join('\n\n');
