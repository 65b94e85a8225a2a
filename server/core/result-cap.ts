/** Keeps a tool's result within its bound (TOOL-6): text is cut with a note, what else doesn't fit is left out. */
import type { InputBlock } from '../../protocol/index.js';

const encoder = new TextEncoder();

export function capResult(content: readonly InputBlock[], maxBytes: number): InputBlock[] {
  let left = maxBytes;
  let cutBytes = 0;
  const kept: InputBlock[] = [];
  for (const block of content) {
    const bytes = sizeOf(block);
    if (bytes <= left) {
      kept.push(block);
      left -= bytes;
      continue;
    }
    if (block.type === 'text' && left > 0) {
      const text = cut(block.text, left);
      if (text.trim() !== '') kept.push({ type: 'text', text });
      cutBytes += bytes - encoder.encode(text).length;
      left = 0;
    } else {
      cutBytes += bytes;
    }
  }
  if (cutBytes > 0)
    kept.push({ type: 'text', text: `[The result was cut: ${cutBytes} bytes over the limit of ${maxBytes}.]` });
  return kept;
}

const sizeOf = (block: InputBlock): number =>
  encoder.encode(block.type === 'text' ? block.text : JSON.stringify(block)).length;

/** The longest start of `text` that takes at most `maxBytes` as UTF-8 and splits no character. */
function cut(text: string, maxBytes: number): string {
  const { read } = encoder.encodeInto(text, new Uint8Array(maxBytes));
  return text.slice(0, read);
}
