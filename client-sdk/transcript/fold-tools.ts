/** Folds the life of tool calls: planned, asked about, offered, running, done. */
import type { EventOf, SessionEvent } from '../../protocol/events.js';
import { changeItem, putItem } from './items.js';
import type { ToolItem, Transcript } from './transcript.js';

export function foldToolEvent(state: Transcript, event: SessionEvent): Transcript {
  switch (event.type) {
    case 'agent.tool_use':
    case 'agent.mcp_tool_use':
    case 'agent.custom_tool_use':
      return foldToolUse(state, event);
    case 'user.tool_confirmation':
      return changeTool(state, event.tool_use_id, (item) => ({
        ...item,
        status: event.result === 'allow' ? 'planned' : 'denied',
        input: event.updated_input ?? item.input,
      }));
    case 'tool.offered':
      return changeTool(state, event.tool_use_id, (item) => ({
        ...item,
        status: 'offered',
        connectionId: event.connection_id,
        expiresAt: event.expires_at,
      }));
    case 'tool.denied':
      return changeTool(state, event.tool_use_id, (item) => ({ ...item, status: 'denied' }));
    case 'tool.started':
      return changeTool(state, event.tool_use_id, (item) => ({ ...item, status: 'running' }));
    case 'tool.progress':
      return changeTool(state, event.tool_use_id, (item) => ({
        ...item,
        progress: { message: event.message, percent: event.percent },
      }));
    case 'agent.tool_result':
      return changeTool(state, event.tool_use_id, (item) => ({
        ...item,
        status: event.outcome === 'denied' ? 'denied' : 'done',
        progress: undefined,
        result: {
          content: event.content,
          isError: event.is_error,
          outcome: event.outcome,
          durationMs: event.duration_ms,
        },
      }));
    default:
      return state;
  }
}

const changeTool = (state: Transcript, id: string, change: (item: ToolItem) => ToolItem): Transcript =>
  changeItem(state, id, 'tool', change);

function foldToolUse(
  state: Transcript,
  event: EventOf<'agent.tool_use' | 'agent.mcp_tool_use' | 'agent.custom_tool_use'>,
): Transcript {
  const { id, type, turn_id: turnId, step, index, name, label, input, expires_at: expiresAt } = event;
  const statuses = { allow: 'planned', ask: 'waiting_approval', deny: 'denied' } as const;
  const status = statuses[event.evaluated_permission];
  const item: ToolItem = { kind: 'tool', id, turnId, step, index, type, name, label, input, inputJson: '', status };
  return { ...state, items: putItem(state.items, expiresAt === undefined ? item : { ...item, expiresAt }) };
}
