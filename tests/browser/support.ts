/** A server with the page, and a headless Chromium to look at it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { type Browser, chromium } from 'playwright-core';
import { startTestServer, type TestServer, type TestServerOptions } from '../../server/testing.js';

const ROOT = join(__dirname, '..', '..');

/** The whole server with its page at `/`, whose client is bundled from the sources as they are now. */
export async function startPageServer(
  options: Omit<TestServerOptions, 'page'> = {},
): Promise<Pick<TestServer, 'url' | 'wsUrl' | 'stop'>> {
  const folder = mkdtempSync(join(tmpdir(), 'midstream-page-'));
  const clientScript = join(folder, 'midstream-client.js');
  buildSync({
    entryPoints: [join(ROOT, 'client-sdk', 'index.ts')],
    outfile: clientScript,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
  });
  const directory = join(ROOT, 'server', 'transports', 'http', 'page');
  const { url, wsUrl, stop } = await startTestServer({ ...options, page: { directory, clientScript } });
  return {
    url,
    wsUrl,
    async stop(drainMs) {
      await stop(drainMs);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function launchBrowser(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
  try {
    return await chromium.launch({
      executablePath,
      headless: true,
      args: [
        ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
        ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
      ],
    });
  } catch (error) {
    const advice = 'Install it with `apt-get install -y --no-install-recommends chromium`, or set CHROMIUM_PATH.';
    throw new Error(`No Chromium at ${executablePath}. ${advice}`, { cause: error });
  }
}
