/** Reads JSON, and says in which line it is broken: the engine's own messages name no place for many mistakes. */

export type JsonResult =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly line: number; readonly column: number; readonly message: string };

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])/y;

class Broken extends Error {
  override readonly name = 'Broken';
  constructor(
    readonly offset: number,
    message: string,
  ) {
    super(message);
  }
}

export function parseJson(text: string): JsonResult {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch {
    const { offset, message } = findBreak(text);
    const before = text.slice(0, offset).split('\n');
    return { ok: false, line: before.length, column: (before.at(-1)?.length ?? 0) + 1, message };
  }
}

function findBreak(text: string): Broken {
  const scanner = new Scanner(text);
  try {
    scanner.value();
    scanner.end();
  } catch (broken) {
    if (broken instanceof Broken) return broken;
    throw broken;
  }
  return new Broken(0, 'is not JSON');
}

class Scanner {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  value(): void {
    this.#take(SPACE);
    if (this.#skip('{')) this.#members('}', () => this.#member());
    else if (this.#skip('[')) this.#members(']', () => this.value());
    else if (!this.#take(STRING) && !this.#take(SCALAR)) this.#fail('a value');
    this.#take(SPACE);
  }

  end(): void {
    if (this.#at < this.#text.length) this.#fail('the end of the file');
  }

  #members(close: string, member: () => void): void {
    this.#take(SPACE);
    if (this.#skip(close)) return;
    do member();
    while (this.#skip(','));
    if (!this.#skip(close)) this.#fail(`"," or "${close}"`);
  }

  #member(): void {
    this.#take(SPACE);
    if (!this.#take(STRING)) this.#fail('a name in double quotes');
    this.#take(SPACE);
    if (!this.#skip(':')) this.#fail('":"');
    this.value();
  }

  #skip(character: string): boolean {
    const found = this.#text[this.#at] === character;
    if (found) this.#at += 1;
    return found;
  }

  #take(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    const found = pattern.test(this.#text);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }

  #fail(expected: string): never {
    if (this.#text[this.#at] === '"' && expected !== 'the end of the file' && !expected.startsWith('"')) {
      throw new Broken(this.#at, 'a string that is not closed, or holds a line break or a wrong escape');
    }
    const found = this.#at < this.#text.length ? `"${this.#text[this.#at]}"` : 'the end of the file';
    const comment = /^\/[/*]/.test(this.#text.slice(this.#at)) ? ' (JSON has no comments)' : '';
    throw new Broken(this.#at, `expected ${expected}, found ${found}${comment}`);
  }
}
