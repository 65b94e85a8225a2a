/** The environment: every variable with its default, its bound and a sentence. An empty variable counts as unset. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { Secret } from './secret.js';

const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .pipe(z.int().min(min).max(max));

const secret = (minBytes: number) =>
  z
    .string()
    .refine((text) => /^[!-~]*$/.test(text), 'must not hold spaces, line breaks or characters beyond ASCII')
    .refine((text) => Buffer.byteLength(text) >= minBytes, `must have at least ${minBytes} bytes`)
    .transform((text) => new Secret(text));

const url = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' });
const flag = z.enum(['0', '1']).transform((text) => text === '1');

const list = (item: z.ZodType<string, string>) =>
  z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .pipe(z.array(item));

const origin = z
  .string()
  .refine(isOrigin, 'must be origins such as https://example.com, without a path')
  .transform((text) => new URL(text).origin);
const network = z.string().refine(isNetwork, 'must be IP addresses or networks such as 10.0.0.0/8');

export const envSchema = z.object({
  PORT: integer(0, 65_535).default(8_080).describe('Port; 0 takes a free one.'),
  HOST: z.string().max(255).default('127.0.0.1').describe('Address to listen on.'),
  ANTHROPIC_API_KEY: secret(1).optional().describe('Key for the model; without one the scripted model answers.'),
  ANTHROPIC_BASE_URL: url.optional().describe('Where the model’s API is; without one Anthropic’s.'),
  MIDSTREAM_MODEL: z.string().max(200).default('claude-sonnet-5-5').describe('Model of agents that name none.'),
  MIDSTREAM_CONFIG: z.string().default('./midstream.config.json').describe('The configuration file.'),
  MIDSTREAM_SCRIPT: z
    .string()
    .optional()
    .describe('A script file for the scripted model, in place of the built-in one.'),
  REDIS_URL: secret(1)
    .optional()
    .describe(
      'Where all state is, so that any number of servers are one: `redis://[user:password@]host[:port][/db]`, with TLS `rediss://`; `redis+cluster://host:port,host:port`; `redis+sentinel://host:port,host:port/master`. Without one there is one node.',
    ),
  MIDSTREAM_LEASE_MS: integer(500, 300_000)
    .default(10_000)
    .describe(
      'With `REDIS_URL`: how long a server that dies keeps its sessions from the others. Longer than Redis takes to fail over: a turn waits that long for it.',
    ),
  MIDSTREAM_LEASE_RENEW_MS: integer(100, 150_000)
    .optional()
    .describe('How often a server says that it lives; at most half of the above. Without it three tenths of it.'),
  MIDSTREAM_DATA_DIR: z.string().default('./.midstream').describe('Folder of the embedded store.'),
  MIDSTREAM_FSYNC: z
    .enum(['group', 'off'])
    .default('group')
    .describe('`group`: what was accepted survives a crash of the machine. `off`: a crash of the process only.'),
  MIDSTREAM_DRAIN_MS: integer(0, 600_000).default(10_000).describe('Time that running turns get at shutdown.'),
  MIDSTREAM_AUTH: z
    .enum(['dev', 'required'])
    .optional()
    .describe(
      '`dev`: everybody is the administrator `local`. Without it `required` where credentials are configured, else `dev`.',
    ),
  MIDSTREAM_DEV_REMOTE: flag.default(false).describe('`1` lets `dev` listen beyond this machine.'),
  MIDSTREAM_JWKS_URL: url.optional().describe('Keys that tokens are verified with, by URL.'),
  MIDSTREAM_JWKS_FILE: z.string().optional().describe('Keys that tokens are verified with, in a file.'),
  MIDSTREAM_JWT_SECRET: secret(32)
    .optional()
    .describe('Secret that HS256 tokens are verified with; at least 32 bytes.'),
  MIDSTREAM_JWT_ISSUER: z.string().optional().describe('Issuer that tokens must name.'),
  MIDSTREAM_JWT_AUDIENCE: z.string().optional().describe('Audience that tokens must name.'),
  MIDSTREAM_JWT_ROLES_CLAIM: z.string().default('roles').describe('Where a token carries the roles; a dotted path.'),
  MIDSTREAM_JWT_ORG_CLAIM: z.string().default('org').describe('Where a token carries the organisation; a dotted path.'),
  MIDSTREAM_ORIGINS: list(origin).prefault('').describe('Browser origins beside the server’s own; comma-separated.'),
  MIDSTREAM_TRUSTED_PROXIES: list(network).prefault('').describe('Proxies whose X-Forwarded-* count; comma-separated.'),
  MIDSTREAM_LOG_LEVEL: z
    .enum(['silent', 'error', 'warn', 'info', 'debug'])
    .default('info')
    .describe('The least that is logged.'),
});

export type Environment = z.infer<typeof envSchema>;

/** Ours by prefix and yet not settings: what Kubernetes adds for a service named midstream, and the tests' own. */
const NOT_SETTINGS = /^MIDSTREAM_(PORT(_|$)|SERVICE_|TEST_|BENCH_)/;

/** Variables that look like settings and are none. */
export function unknownVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(env).filter(
    (name) => name.startsWith('MIDSTREAM_') && !NOT_SETTINGS.test(name) && !(name in envSchema.shape),
  );
}

function isOrigin(text: string): boolean {
  return (
    /^https?:\/\//.test(text) && URL.canParse(text) && new URL(text).origin === text.toLowerCase().replace(/\/$/, '')
  );
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}
