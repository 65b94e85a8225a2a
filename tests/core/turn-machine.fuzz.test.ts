/** Random interleavings of everything that can happen to a session; the laws are the invariants. */

import { nextWakeAt } from '../../server/core/clock-input.js';
import type { ModelEvent } from '../../server/core/model-stream.js';
import { toSnapshot } from '../../server/core/snapshot.js';
import type { RequestKey } from '../../server/core/transition.js';
import { createRandom, type Random } from './support/random.js';
import { ALICE, ASKING, World } from './support/world.js';

const RUNS = process.env['MIDSTREAM_TEST_LONG'] ? 50_000 : 1_500;
const STEPS = 60;

interface Reply {
  readonly key: RequestKey;
  readonly events: ModelEvent[];
}

/** A plausible reply of a model, as a list of events that may be cut anywhere. */
function makeReply(random: Random): ModelEvent[] {
  const events: ModelEvent[] = [{ type: 'message_start', usage: usage(10, 1) }];
  const blocks = random.int(4);
  let hasCalls = false;
  let paused = false;
  for (let index = 0; index < blocks; index++) {
    const kind = random.int(7);
    if (kind === 0) {
      events.push({ type: 'block_start', index, block: { type: 'thinking', thinking: '', signature: '' } });
      for (let i = random.int(3); i > 0; i--) events.push({ type: 'thinking', index, text: 'hm ' });
      events.push({ type: 'signature', index, signature: 'sig' });
    } else if (kind === 1) {
      events.push({ type: 'block_start', index, block: { type: 'redacted_thinking', data: 'xyz' } });
    } else if (kind <= 3) {
      events.push({ type: 'block_start', index, block: { type: 'text', text: '' } });
      for (let i = random.int(4); i > 0; i--)
        events.push({ type: 'text', index, text: random.pick(['a', ' ', '', '\n', 'word ']) });
    } else if (kind === 4 && index === blocks - 1) {
      paused = true;
      events.push({
        type: 'block_start',
        index,
        block: { type: 'server_tool_use', id: `srvtoolu_${random.int(1e9)}`, name: 'web_search', input: {} },
      });
      events.push({ type: 'input_json', index, json: '{"q":"x"}' });
    } else {
      hasCalls = true;
      const name = random.pick(['search', 'send_mail', 'wipe', 'edit_note', 'unheard_of']);
      const id = random.chance(0.05) ? 'toolu_same' : `toolu_${random.int(1e9)}`;
      events.push({ type: 'block_start', index, block: { type: 'tool_use', id, name, input: {} } });
      const json = random.pick(['', '{"q":"x"}', '{"q":7}', '{"q":', '[1]']);
      for (const part of json.match(/.{1,3}/g) ?? []) events.push({ type: 'input_json', index, json: part });
    }
    events.push({ type: 'block_stop', index });
  }
  const stop =
    paused && !hasCalls
      ? 'pause_turn'
      : random.pick([
          hasCalls ? 'tool_use' : 'end_turn',
          hasCalls ? 'tool_use' : 'end_turn',
          'max_tokens',
          'refusal',
          'something_new',
        ]);
  events.push({ type: 'message_delta', stopReason: stop, usage: { output_tokens: 5 } });
  return events;
}

const usage = (input: number, output: number) => ({
  input_tokens: input,
  output_tokens: output,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
});

class Fuzzer {
  readonly world: World;
  readonly random: Random;
  #reply: Reply | undefined;
  #ids = 0;
  readonly #oldKeys: RequestKey[] = [];

  constructor(seed: number) {
    this.random = createRandom(seed);
    this.world = new World({
      policy: ASKING,
      maxSteps: 2 + this.random.int(5),
      random: () => this.random.next(),
      limits: { queued_turns: 4, upstream_attempts: 3 },
    });
  }

  run(): void {
    for (let i = 0; i < STEPS; i++) {
      this.#act();
      this.world.checkHistory();
    }
    this.#settle();
    this.world.checkLog();
    this.#checkFold();
  }

  #act(): void {
    const { random, world } = this;
    const action = random.int(24);
    if (action <= 6) this.#stream(1 + random.int(4));
    else if (action === 7)
      world.say('Hello', { on_busy: random.pick(['queue', 'interrupt', 'steer', 'reject', undefined]) });
    else if (action === 8) this.#steer();
    else if (action === 9) this.#interrupt();
    else if (action === 10) this.#confirm();
    else if (action === 11) this.#answerClientCall();
    else if (action <= 13) this.#endTool();
    else if (action === 14) this.#register();
    else if (action === 15) world.input({ type: 'connection_gone', connectionId: 'conn_alice' });
    else if (action === 16) this.#tick();
    else if (action === 17) this.#failModel();
    else if (action === 18) this.#late();
    else if (action === 19) this.#crash();
    else if (action === 20) world.checkpoint();
    else if (action === 21) this.#share();
    else if (action === 22) this.#helped();
    else world.admit();
  }

  #stream(count: number): void {
    const { world } = this;
    world.admit();
    this.#takeRequest();
    if (!this.#reply) return;
    const { key, events } = this.#reply;
    world.input({ type: 'model_events', key, events: events.splice(0, count) });
    if (events.length > 0) return;
    world.input({ type: 'model_ended', key, end: { type: 'complete' } });
    this.#reply = undefined;
  }

  #takeRequest(): void {
    const { effects } = this.world;
    for (const effect of effects.splice(0)) {
      if (effect.type === 'request_model') {
        this.#reply = { key: effect.request.key, events: makeReply(this.random) };
        this.#oldKeys.push(effect.request.key);
      } else if (effect.type === 'abort_model') this.#reply = undefined;
      else effects.push(effect);
    }
  }

  #steer(): void {
    const apply = this.random.pick(['next_step', 'now']);
    this.world.command({
      type: 'user.steer',
      id: `s${++this.#ids}`,
      content: [{ type: 'text', text: 'Rather so.' }],
      apply,
    } as never);
  }

  #interrupt(): void {
    const { random, world } = this;
    const messages = world.of('user.message');
    const message = messages.length > 0 ? random.pick(messages) : undefined;
    const target = random.pick([
      {},
      { turn_id: message?.turn_id },
      { message_id: message?.id },
      { command_id: message?.command_id },
      { turn_id: 'turn_x' },
    ]);
    const head = world.state.seq;
    const reply = world.interrupt({ ...target, ...(random.chance(0.2) && { scope: 'turn_and_queue' }) });
    if (
      reply.ok &&
      reply.result.outcome === 'already_ended' &&
      world.state.queue.length > 0 &&
      reply.appliedAtSeq > head
    )
      throw new Error('CAN-4: cancelling what has ended appends nothing');
    if (
      !reply.ok &&
      message &&
      'turn_id' in target &&
      target.turn_id === message.turn_id &&
      message.steer_id === undefined
    )
      throw new Error(`CAN-1: the interrupt of ${target.turn_id} was refused with ${reply.error.code}`);
  }

  /** Bob comes and goes. */
  #share(): void {
    const id = `m${++this.#ids}`;
    const role = this.random.pick(['owner', 'editor', 'viewer', null] as const);
    const command = { type: 'session.member_update', id, session_id: 'sesn_1', user_id: 'bob', role } as const;
    this.world.input({ type: 'command', command, sender: ALICE, hold: 'needed' });
  }

  /** Where Bob may prompt, he does. */
  #helped(): void {
    const { random, world } = this;
    const bob = { principal: { ...ALICE.principal, user_id: 'bob' }, connectionId: 'conn_bob' };
    const content = [{ type: 'text', text: 'And me?' }];
    const command = random.pick([
      { type: 'user.message', content, on_busy: random.pick(['queue', 'steer', 'interrupt']) },
      { type: 'user.steer', content, apply: random.pick(['next_step', 'now']) },
    ]);
    const before = world.state.members.find(({ user_id }) => user_id === 'bob')?.role;
    const reply = world.command({ ...command, id: `b${++this.#ids}` } as never, bob);
    if (reply.ok && (before === undefined || before === 'viewer')) throw new Error(`AUTH-3: ${before} Bob prompted`);
  }

  #confirm(): void {
    const calls = this.world.state.turn?.calls ?? [];
    if (calls.length === 0) return;
    const call = this.random.pick(calls);
    const updated = this.random.pick([undefined, { q: 'edited' }, { q: 7 }]);
    this.world.command({
      type: 'user.tool_confirmation',
      id: `f${++this.#ids}`,
      tool_use_id: call.id,
      result: this.random.pick(['allow', 'deny']),
      ...(updated && { updated_input: updated }),
    } as never);
  }

  #answerClientCall(): void {
    const calls = this.world.of('agent.custom_tool_use');
    if (calls.length === 0) return;
    const id = this.random.pick(calls).id;
    const content = this.random.pick([
      [],
      [{ type: 'text', text: 'done' }],
      [{ type: 'image', source: { type: 'url', url: 'https://x.test/a.png' } }],
    ]);
    this.world.command({
      type: 'user.custom_tool_result',
      id: `r${++this.#ids}`,
      custom_tool_use_id: id,
      content,
      is_error: this.random.chance(0.3),
    } as never);
  }

  #endTool(): void {
    const running = this.world.effects.filter((e) => e.type === 'run_tool');
    if (running.length === 0) return;
    const effect = this.random.pick(running);
    this.world.effects.splice(this.world.effects.indexOf(effect), 1);
    this.world.input({ type: 'tool_progress', toolUseId: effect.toolUseId, percent: 50 });
    const result = { content: [{ type: 'text', text: 'found' }], is_error: false, outcome: 'ok' as const };
    this.world.input({ type: 'tool_ended', toolUseId: effect.toolUseId, result });
  }

  #register(): void {
    const tools = [
      { name: 'edit_note', description: 'Edits', input_schema: { type: 'object' as const }, timeout_ms: 5_000 },
    ];
    const command = { type: 'tools.register' as const, id: 'reg', session_id: 'sesn_1', tools };
    const connectionId = this.random.pick(['conn_alice', 'conn_other']);
    this.world.input({ type: 'register', command, sender: { ...ALICE, connectionId } });
  }

  #tick(): void {
    const { world, random } = this;
    const wakeAt = nextWakeAt(world.state);
    world.now += random.int(8_000);
    if (wakeAt !== undefined && random.chance(0.5)) world.now = Math.max(world.now, wakeAt);
    world.input({ type: 'tick' });
  }

  #failModel(): void {
    this.world.admit();
    this.#takeRequest();
    if (!this.#reply) return;
    const { key } = this.#reply;
    this.#reply = undefined;
    const code = this.random.pick([
      'upstream_overloaded',
      'upstream_truncated',
      'upstream_refused',
      'context_window_exceeded',
    ] as const);
    const failure = { code, message: 'as scripted', retryable: code === 'upstream_overloaded' };
    this.world.input({ type: 'model_ended', key, end: { type: 'failed', failure } });
  }

  /** What comes from a request or a tool that is no longer the current one changes nothing. */
  #late(): void {
    const { world } = this;
    const key = this.#oldKeys.length > 0 ? this.random.pick(this.#oldKeys) : undefined;
    const turn = world.state.turn;
    if (!key || (turn?.turnId === key.turnId && turn.step === key.step && turn.attempt === key.attempt)) return;
    const head = world.state.seq;
    world.input({ type: 'model_events', key, events: [{ type: 'text', index: 0, text: 'late' }] });
    world.input({ type: 'model_ended', key, end: { type: 'complete' } });
    world.input({
      type: 'tool_ended',
      toolUseId: 'sevt_none',
      result: { content: [], is_error: false, outcome: 'ok' },
    });
    if (world.state.seq !== head) throw new Error('a late answer changed the log');
  }

  #crash(): void {
    this.#reply = undefined;
    this.world.crash();
  }

  /** Lets everything come to its end: every turn has one. */
  #settle(): void {
    const { world } = this;
    for (let i = 0; i < 400 && (world.state.turn || world.state.queue.length > 0); i++) {
      this.#stream(100);
      this.#endTool();
      const wakeAt = nextWakeAt(world.state);
      if (
        world.state.turn?.phase.name !== 'streaming' &&
        wakeAt !== undefined &&
        !world.effects.some((e) => e.type === 'run_tool' || e.type === 'reserve' || e.type === 'request_model')
      ) {
        world.now = Math.max(world.now, wakeAt);
        world.input({ type: 'tick' });
      }
    }
    if (world.state.turn)
      throw new Error(
        `TURN-1: a turn never ended: ${JSON.stringify(world.state.turn.phase)} ${JSON.stringify(world.state.turn.calls)}`,
      );
    if (world.state.running || world.state.idleReason === 'requires_action')
      throw new Error('the session does not look idle');
  }

  /** The live state is what the log folds to. */
  #checkFold(): void {
    const live = { ...toSnapshot(this.world.state), tools: [] };
    const folded = { ...toSnapshot(this.world.fold()), tools: [] };
    expect(folded).toEqual(live);
  }
}

describe('the machine under random interleavings', () => {
  const first = Number(process.env['MIDSTREAM_SEED'] ?? Math.floor(Math.random() * 1e9));

  it(`[LOG-1] [TURN-1] [TURN-3] [CAN-2] [CAN-4] [TOOL-4] [NODE-2] keeps the laws, from seed ${first}`, () => {
    for (let run = 0; run < RUNS; run++) {
      try {
        new Fuzzer(first + run).run();
      } catch (error) {
        throw new Error(`MIDSTREAM_SEED=${first + run}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
});
