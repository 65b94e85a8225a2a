/**
 * The fake upstream as a process, for benches and black-box tests. Reads its configuration, JSON, from the first argument
 * or UPSTREAM_CONFIG; prints the port it listens on, and serves until SIGTERM.
 */
import { type Reply, textReply } from './replies.js';
import { startUpstream, type UpstreamOptions } from './upstream-server.js';

interface ProcessConfig extends UpstreamOptions {
  /** Answered in this order, one each. */
  readonly replies?: readonly Reply[];
  /** Answered once `replies` are through; default "Hello." */
  readonly repeat?: Reply;
}

async function main(): Promise<void> {
  const text = process.argv[2] ?? process.env['UPSTREAM_CONFIG'] ?? '{}';
  const { replies = [], repeat = textReply('Hello.'), ...options } = JSON.parse(text) as ProcessConfig;
  const upstream = await startUpstream(options);
  const left = [...replies];
  upstream.script(() => left.shift() ?? repeat);
  process.once('SIGTERM', () => void upstream.close().then(() => process.exit(0)));
  process.stdout.write(`${upstream.port}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exit(1);
});
