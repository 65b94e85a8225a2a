/** The clients, in a process of their own: opens conversations, prompts, waits, cancels, as the run asks. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Tally } from './conversations.mjs';
import { serveQuestions } from './processes.mjs';
import { nowUs, toSpread } from './statistics.mjs';
import { createConversation } from './watched.mjs';

/** Connections: a server refuses more of one address that haven't said anything yet. */
const OPEN_AT_ONCE = 100;
/** Between two cancels, so that none waits behind another. */
const CANCEL_PAUSE_MS = 10;
const LOOK_MS = 20;

const tally = new Tally();
let conversations = [];
let turns = [];
let runs = 0;
/** Tokens of the last run that came with completed messages alone, each for each watcher. */
let skipped = 0;
let resumptions = [];

/** `depth`: `connection` stops at the handshake, `session` goes on to an attached session. `watch`: see `createConversation`. */
async function open({ dialect, port, token, count, depth, watch }) {
  const atOnce = Math.ceil(OPEN_AT_ONCE / (1 + (watch?.count ?? 0)));
  for (let opened = 0; opened < count; opened += atOnce) {
    const batch = Array.from({ length: Math.min(atOnce, count - opened) }, () =>
      createConversation(dialect, tally, { port, token, watch }),
    );
    conversations.push(...batch);
    await Promise.all(batch.map((one) => (depth === 'connection' ? one.ready() : one.open())));
  }
}

function start({ prompt, atOnce = conversations.length }) {
  const run = runs++;
  skipped = 0;
  const waiting = conversations.map((conversation, i) => [conversation, `${process.pid}.${run}.${i}`]);
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [conversation, name] = next;
      conversation.name = name;
      const tokens = await conversation.prompt({ ...prompt, name });
      skipped += conversation.skipped;
      if (tokens !== prompt.tokens && !conversation.isCancelled)
        throw new Error(`${tokens} of ${prompt.tokens} tokens arrived`);
    }
  };
  turns = Array.from({ length: atOnce }, work);
  for (const turn of turns) turn.catch(() => {});
}

function count() {
  const { tokens, latenciesUs } = tally.take();
  return { tokens, ...(latenciesUs.length > 0 && toSpread(latenciesUs)) };
}

/** One after the other, each on an idle server: from the command sent to its first token. */
async function firstTokens({ times }) {
  const tookUs = [];
  for (let i = 0; i < times; i++) {
    const conversation = conversations[i % conversations.length];
    const startedUs = nowUs();
    await conversation.prompt({ name: `first.${i}`, tokens: 1, perSecond: 50 }, () => tookUs.push(nowUs() - startedUs));
  }
  return toSpread(tookUs);
}

/** Cancels every running turn; when each was asked, and how long its reply took. */
async function cancel() {
  const repliedUs = [];
  const asked = [];
  for (const conversation of conversations) {
    conversation.isCancelled = true;
    const startedUs = nowUs();
    asked.push([conversation.name, startedUs]);
    await conversation.cancel();
    repliedUs.push(nowUs() - startedUs);
    await sleep(CANCEL_PAUSE_MS);
  }
  await Promise.all(turns);
  return { repliedUs, asked };
}

/** Begins to wait for the next request to the model of each. */
function awaitResumed() {
  resumptions = conversations.map((conversation) => conversation.resumed());
}

function close() {
  for (const conversation of conversations) conversation.close();
  conversations = [];
}

/** Resolves when every turn has streamed its first token to all who watch it. */
async function streaming() {
  const over = Promise.race(turns).then(() => {
    throw new Error('a turn was over before all had begun');
  });
  const allBegun = async () => {
    while (!conversations.every(({ hasTokens }) => hasTokens)) await sleep(LOOK_MS);
  };
  await Promise.race([over, allBegun()]);
}

const finish = () => Promise.all(turns).then(() => skipped);
/** When the first token of each of those requests came. */
const resumed = () => Promise.all(resumptions);

const ANSWERS = { open, start, streaming, count, firstTokens, cancel, close, finish, awaitResumed, resumed };

serveQuestions(async ({ what, ...question }) => (await ANSWERS[what](question)) ?? null);
