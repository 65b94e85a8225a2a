/** Looks at JSON text before it is parsed, without recursion: how deep it nests, and which id it carries. */

/** Index just past the string that opens at `start`; the text's length where it never closes. */
function endOfString(text: string, start: number): number {
  let at = start;
  for (;;) {
    at = text.indexOf('"', at + 1);
    if (at === -1) return text.length;
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === 92) slashes += 1;
    if (slashes % 2 === 0) return at + 1;
  }
}

/** Whether `text` nests objects and arrays deeper than `maxDepth`. Stops at the first place that does. */
export function isDeeperThan(text: string, maxDepth: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i);
    if (c === 34) i = endOfString(text, i) - 1;
    else if (c === 123 || c === 91) {
      depth += 1;
      if (depth > maxDepth) return true;
    } else if (c === 125 || c === 93) depth -= 1;
  }
  return false;
}

/**
 * The plain string values of the outermost object for `keys`, read without building anything: a frame too deep to
 * parse is still answered by its id.
 */
export function readTopStrings(text: string, keys: readonly string[]): Record<string, string> {
  const found: Record<string, string> = Object.create(null) as Record<string, string>;
  let depth = 0;
  let token: string | undefined;
  let key: string | undefined;
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i);
    if (c === 34) {
      const end = endOfString(text, i);
      if (depth === 1) {
        if (key === undefined) token = end - i < 100 ? text.slice(i + 1, end - 1) : undefined;
        else {
          if (keys.includes(key) && end - i < 300) found[key] = text.slice(i + 1, end - 1);
          key = undefined;
        }
      }
      i = end - 1;
    } else if (c === 58 && depth === 1) key = token;
    else if (c === 44 && depth === 1) {
      key = undefined;
      token = undefined;
    } else if (c === 123 || c === 91) depth += 1;
    else if (c === 125 || c === 93) depth -= 1;
  }
  return found;
}

const isMedia = (block: unknown): boolean => {
  const type = (block as { type?: unknown } | null)?.type;
  return type === 'image' || type === 'document';
};

/** Whether a parsed command, or one of a batch, holds an image or a document: only such may be larger than `frame_bytes`. */
export function hasMedia(parsed: unknown): boolean {
  const { content, events } = (parsed ?? {}) as { content?: unknown; events?: unknown };
  if (Array.isArray(content) && content.some(isMedia)) return true;
  return Array.isArray(events) && events.some((e) => Array.isArray(e?.content) && e.content.some(isMedia));
}
