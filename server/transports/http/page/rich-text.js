// @ts-check
/** Shows text with its code blocks. Nothing of it is ever read as HTML: every character goes through `textContent`. */

/**
 * @typedef {{ tag: 'p' | 'pre', text: string }} Segment
 */

/**
 * Splits text at its ``` fences; one that is still open is code up to the end.
 * @param {string} text
 * @returns {Segment[]}
 */
export function toSegments(text) {
  /** @type {Segment[]} */
  const segments = [];
  /** @type {string[]} */
  let lines = [];
  let isCode = false;
  const flush = () => {
    const joined = isCode ? lines.join('\n') : lines.join('\n').replace(/^\n+|\n+$/g, '');
    if (joined !== '' || isCode) segments.push({ tag: isCode ? 'pre' : 'p', text: joined });
    lines = [];
  };
  for (const line of text.split('\n')) {
    if (line.trimStart().startsWith('```')) {
      flush();
      isCode = !isCode;
    } else {
      lines.push(line);
    }
  }
  flush();
  return segments;
}

/**
 * Makes `element` show `text`, touching only what changed: while an answer streams, that is its last block.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function showText(element, text) {
  const segments = toSegments(text);
  segments.forEach(({ tag, text: content }, at) => {
    const known = element.children[at];
    if (known && known.localName === tag) {
      if (known.textContent !== content) known.textContent = content;
      return;
    }
    const made = document.createElement(tag);
    made.textContent = content;
    if (tag === 'pre') made.tabIndex = 0;
    if (known) known.replaceWith(made);
    else element.append(made);
  });
  while (element.children.length > segments.length) element.lastElementChild?.remove();
}

/**
 * The text of content blocks; what is no text is named.
 * @param {readonly { type: string, text?: unknown }[]} content
 */
export function toText(content) {
  return content.map((block) => (typeof block.text === 'string' ? block.text : `[${block.type}]`)).join('\n');
}
