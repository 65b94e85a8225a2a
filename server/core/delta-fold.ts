/**
 * The fold of one delta, the hottest step of the machine. It copies field by field: to V8 each `{ ...object }` of a
 * copy has a new shape, so that a chain of them is copied property by property, at thirty times the price. A field left
 * out here doesn't compile.
 */
import type { DeltaRecord } from './log-record.js';
import type { OpenBlock, SessionState, Turn } from './session-state.js';

/** Folds one delta into the block it belongs to. */
export function applyDelta(before: SessionState, delta: DeltaRecord): SessionState {
  const turn = before.turn;
  const isOfTurn = turn !== undefined && turn.turnId === delta.turnId;
  return {
    sessionId: before.sessionId,
    epoch: before.epoch,
    owner: before.owner,
    members: before.members,
    title: before.title,
    metadata: before.metadata,
    agent: before.agent,
    createdAt: before.createdAt,
    updatedAt: before.updatedAt,
    seq: delta.seq,
    history: before.history,
    proven: before.proven,
    replayFrom: before.replayFrom,
    queue: before.queue,
    turn: isOfTurn ? extendTurn(turn, delta) : turn,
    running: before.running,
    idleReason: before.idleReason,
    ended: before.ended,
    usage: before.usage,
    costNanoUsd: before.costNanoUsd,
    deleted: before.deleted,
    registrations: before.registrations,
  };
}

function extendTurn(turn: Turn, delta: DeltaRecord): Turn {
  return {
    turnId: turn.turnId,
    messageId: turn.messageId,
    commandId: turn.commandId,
    payer: turn.payer,
    participants: turn.participants,
    request: turn.request,
    startedAt: turn.startedAt,
    deadlineAt: turn.deadlineAt,
    serverTools: turn.serverTools,
    clientTools: turn.clientTools,
    step: turn.step,
    attempt: turn.attempt,
    phase: turn.phase,
    items: turn.items,
    open: extendOpen(turn.open, delta),
    calls: turn.calls,
    steers: turn.steers,
    joined: turn.joined,
    usage: turn.usage,
    estimated: turn.estimated,
    costNanoUsd: turn.costNanoUsd,
    recoveries: turn.recoveries,
    resultsReplaced: turn.resultsReplaced,
  };
}

function extendOpen(open: readonly OpenBlock[], delta: DeltaRecord): readonly OpenBlock[] {
  const extended = open.slice();
  for (let i = 0; i < open.length; i++) {
    const block = open[i] as OpenBlock;
    if (block.id === delta.eventId) extended[i] = extendBlock(block, delta);
  }
  return extended;
}

function extendBlock(block: OpenBlock, delta: DeltaRecord): OpenBlock {
  switch (block.kind) {
    case 'call':
      return { ...block, json: block.json + delta.text };
    case 'thinking': {
      const { kind, index, id, thinking, signature, shown } = block;
      return { kind, index, id, thinking: thinking + delta.text, signature, shown };
    }
    case 'message': {
      const { kind, index, id, shown } = block;
      const content = block.content.slice();
      const last = content[delta.index];
      content[delta.index] = { ...last, type: 'text', text: `${last?.['text'] ?? ''}${delta.text}` };
      return { kind, index, id, content, shown };
    }
  }
}
