/** What a client of chaos does next, by its seed and by what it knows to be open: prompts, cancels, steers, answers. */
import type { Random } from '../core/support/random.js';
import { WISHES } from './node-model.js';
import type { OpenCall, SessionView } from './session-view.js';
import type { CommandInput } from './ws-recorder.js';

type Command = CommandInput & { id: string };

export interface ActInput {
  readonly random: Random;
  readonly sessionId: string;
  readonly view: SessionView;
  readonly acts: 'all' | 'prompts';
  readonly toId: () => string;
}

/** Sent one behind the other, without waiting in between. */
export function nextCommands(input: ActInput): readonly Command[] {
  const { random, acts } = input;
  const first = prompt(input);
  if (acts === 'prompts') return [first];
  switch (random.int(10)) {
    case 0:
      return [first, prompt(input), interrupt(input, { command_id: first.id })];
    case 1:
      return [first, interrupt(input, {})];
    case 2:
      return [interrupt(input, random.chance(0.5) ? { scope: 'turn_and_queue' } : aTurn(input))];
    case 3:
      return [first, steer(input)];
    case 4:
      return [steer(input), interrupt(input, aTurn(input))];
    case 5:
      return [first, prompt(input)];
    default:
      return [first];
  }
}

export function toAnswer(call: OpenCall, sessionId: string, id: string, random: Random): Command {
  if (call.kind === 'tool_result')
    return {
      type: 'user.custom_tool_result',
      id,
      session_id: sessionId,
      custom_tool_use_id: call.id,
      content: 'edited',
    };
  const edited = random.chance(0.3) && { updated_input: { n: 0 } };
  return {
    type: 'user.tool_confirmation',
    id,
    session_id: sessionId,
    tool_use_id: call.id,
    ...(random.chance(0.7) ? { result: 'allow', ...edited } : { result: 'deny', deny_message: 'No.' }),
  };
}

function prompt({ random, sessionId, acts, toId }: ActInput): Command {
  const id = toId();
  const content = `${id}: ${random.pick(WISHES)}`;
  const message = { type: 'user.message' as const, id, session_id: sessionId, content };
  if (acts === 'prompts' || random.chance(0.6)) return message;
  return { ...message, on_busy: random.pick(['interrupt', 'steer', 'reject'] as const) };
}

function steer({ random, sessionId, toId }: ActInput): Command {
  const apply = random.pick(['next_step', 'now'] as const);
  return { type: 'user.steer', id: toId(), session_id: sessionId, content: 'shorter', apply };
}

const interrupt = ({ sessionId, toId }: ActInput, what: object): Command => ({
  type: 'user.interrupt',
  id: toId(),
  session_id: sessionId,
  ...what,
});

/** One of those that are open, by one of its names; none where nothing is. */
function aTurn({ random, view }: ActInput): object {
  const turns = view.openTurns;
  if (turns.length === 0) return {};
  const [name, value] = random.pick(Object.entries(random.pick(turns)));
  return { [name]: value };
}
