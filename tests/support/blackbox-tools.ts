/** HTTP tools as an operator would run them: a real server, whose answers a test gives one by one. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { FileConfigInput } from '../../server/config/index.js';

export interface ToolCall {
  readonly name: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: {
    readonly tool_use_id: string;
    readonly input: Readonly<Record<string, unknown>>;
    readonly session_id: string;
    readonly turn_id: string;
    readonly user_id: string;
  };
  /** Resolves when the connection of this call is gone, or its answer is out. */
  readonly closed: Promise<'answered' | 'aborted'>;
  answer(content: unknown, status?: number): void;
}

export interface ToolServer {
  readonly calls: readonly ToolCall[];
  /** Answers every call to come, with what the handler gives or promises; without one, `answer` does. */
  handle(handler: ((call: ToolCall) => unknown) | undefined): void;
  /** The first call that fits, whether it came already or is to come. */
  waitForCall(fits: (call: ToolCall) => boolean): Promise<ToolCall>;
  /** A tool of the configuration that runs here. */
  toolConfig(name: string, extra?: Partial<ToolConfig>): ToolConfig;
  close(): Promise<void>;
}

type ToolConfig = NonNullable<FileConfigInput['tools']>[number];

export async function startToolServer(): Promise<ToolServer> {
  const calls: ToolCall[] = [];
  const waiting = new Set<() => void>();
  let handler: ((call: ToolCall) => unknown) | undefined;

  const server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const call: ToolCall = {
        name: (req.url ?? '').slice(1),
        headers: req.headers,
        body: JSON.parse(Buffer.concat(chunks).toString()) as ToolCall['body'],
        closed: closedOf(res),
        answer: (content, status = 200) => {
          res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ content }));
        },
      };
      calls.push(call);
      if (handler !== undefined) void Promise.resolve(handler(call)).then((content) => call.answer(content));
      for (const check of [...waiting]) check();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  return {
    calls,
    handle: (given) => {
      handler = given;
    },
    waitForCall: (fits) =>
      new Promise((resolve) => {
        const check = (): void => {
          const found = calls.find(fits);
          if (found === undefined) return;
          waiting.delete(check);
          resolve(found);
        };
        waiting.add(check);
        check();
      }),
    toolConfig: (name, extra = {}) => ({
      name,
      description: `The tool ${name}.`,
      label: `Running ${name}…`,
      input_schema: { type: 'object' },
      http: { url: `http://127.0.0.1:${port}/${name}` },
      ...extra,
    }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const closedOf = (res: ServerResponse): Promise<'answered' | 'aborted'> =>
  new Promise((resolve) => res.once('close', () => resolve(res.writableFinished ? 'answered' : 'aborted')));
