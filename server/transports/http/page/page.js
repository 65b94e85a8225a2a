// @ts-check
/** The page: one session, watched and driven through the client of this server. */
import { createAnnouncer } from './announcer.js';
import { createComposer } from './composer.js';
import { byId } from './elements.js';
// @ts-expect-error The bundle is served beside this file; its types are those of `client-sdk`.
import { createClient } from './midstream-client.js';
import { offerNote } from './note.js';
import { createQueueView } from './queue-view.js';
import { createTranscriptView, formatCost, formatTokens } from './transcript-view.js';

/** @typedef {import('../../../../client-sdk/index.js').MidstreamClient} MidstreamClient */
/** @typedef {import('../../../../client-sdk/index.js').Session} Session */
/** @typedef {import('../../../../client-sdk/index.js').Attached} Attached */
/** @typedef {import('../../../../client-sdk/index.js').Transcript} Transcript */
/** @typedef {import('../../../../client-sdk/index.js').ConnectionStatus} ConnectionStatus */

/** How long "Drop connection" stays away, so that there is something to catch up with. */
const OFFLINE_MS = 1_500;

const notice = byId('notice');
const announce = createAnnouncer(byId('announcer'));
/** @type {Session | undefined} */
let session;
let drawn = false;

/** @type {MidstreamClient} */
const client = createClient({ onStatus: showConnection, onError: showError });
const drawItems = createTranscriptView(byId('items'), async (toolUseId, decision) =>
  session?.confirm(toolUseId, decision),
);
const drawQueue = createQueueView(byId('queue'), byId('queue-items'), (turnId) =>
  session?.interrupt({ turn_id: turnId }).catch(showError),
);
const composer = createComposer({
  prompt: (text) => session?.prompt(text).accepted.catch(showError),
  steer: (text, apply) => session?.steer(text, { apply }).catch(showError),
  stop: () => session?.interrupt({ reason: 'stopped by the user' }).catch(showError),
});

byId('drop').addEventListener('click', () => client.drop({ offlineMs: OFFLINE_MS }));
for (const suggestion of byId('welcome').querySelectorAll('button'))
  suggestion.addEventListener('click', () => session?.prompt(suggestion.textContent).accepted.catch(showError));
byId('new-session').addEventListener('click', () => {
  location.hash = '';
  location.reload();
});
addEventListener('hashchange', () => {
  if (location.hash.slice(1) !== session?.id) location.reload();
});

void open();

async function open() {
  try {
    session = await openSession(location.hash.slice(1));
  } catch (error) {
    return showError(error);
  }
  history.replaceState(null, '', `#${session.id}`);
  offerNote(session, byId('note'));
  session.onAttached(showResumed);
  session.subscribe((_, event) => {
    if (event) announce.event(event);
    drawSoon();
  });
  draw();
  byId('prompt').focus();
}

/** @param {string} id */
async function openSession(id) {
  if (id === '') return client.createSession();
  try {
    return await client.attach(id);
  } catch (error) {
    if (/** @type {{ code?: string }} */ (error).code !== 'session_not_found') throw error;
    notice.textContent = 'That session is not here any more; this is a new one.';
    return client.createSession();
  }
}

/** Once per frame, however many events came. A page in the background gets no frames, so it is drawn when it shows. */
function drawSoon() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(draw);
}

function draw() {
  drawn = false;
  if (!session) return;
  const { transcript } = session;
  const page = document.documentElement;
  const isAtEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  drawItems(transcript.items);
  drawQueue(transcript.queue, transcript.steers);
  composer.update(transcript);
  byId('welcome').hidden = transcript.items.length > 0 || transcript.queue.length > 0;
  byId('usage').textContent = toUsageLine(transcript);
  if (isAtEnd) page.scrollTop = page.scrollHeight;
}

/** @param {Transcript} transcript */
function toUsageLine({ usage, costUsd, turn }) {
  const read = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  const readNow = turn
    ? turn.usage.input_tokens + turn.usage.cache_read_input_tokens + turn.usage.cache_creation_input_tokens
    : 0;
  const written = usage.output_tokens + (turn?.usage.output_tokens ?? 0);
  if (read + readNow + written === 0) return '';
  return `${formatTokens(read + readNow)} in · ${formatTokens(written)} out · ${formatCost(costUsd + (turn?.costUsd ?? 0))}`;
}

/** @param {ConnectionStatus} status */
function showConnection(status) {
  const pill = byId('connection');
  pill.dataset['state'] = status.state;
  const words = { connecting: 'Connecting', ready: 'Connected', waiting: 'Reconnecting', closed: 'Disconnected' };
  pill.textContent = words[status.state];
  byId('drop').disabled = status.state !== 'ready';
  if (status.state === 'waiting') notice.textContent = 'Connection lost; turns go on at the server. Reconnecting…';
  if (status.state === 'closed' && status.error) showError(status.error);
}

/** @param {Attached} attached */
function showResumed({ mode, afterSeq, headSeq, gaps }) {
  delete notice.dataset['kind'];
  if (afterSeq === undefined || mode === 'snapshot') {
    notice.textContent = `Reconnected, started again from a snapshot at seq ${headSeq}.`;
    return;
  }
  const mended = gaps > 0 ? `, ${gaps} gaps mended` : '';
  notice.textContent = `Reconnected, resumed at seq ${afterSeq}: ${headSeq - afterSeq} events caught up, 0 lost${mended}.`;
}

/** @param {any} error */
function showError(error) {
  notice.dataset['kind'] = 'error';
  notice.textContent =
    error?.row?.advice && error.message !== error.row.advice
      ? `${error.message} ${error.row.advice}`
      : String(error?.message ?? error);
}
