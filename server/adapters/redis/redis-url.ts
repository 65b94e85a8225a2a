/** What a URL of Redis says: one server, a Cluster, or a master that Sentinels know. */

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

export interface RedisTarget {
  readonly kind: 'standalone' | 'cluster' | 'sentinel';
  /** One, or those to ask first. */
  readonly addresses: readonly [RedisAddress, ...RedisAddress[]];
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  /** The name that Sentinels know the master by. */
  readonly master: string | undefined;
}

const FORM = /^(rediss?)(?:\+(cluster|sentinel))?:\/\/(?:([^@/]*)@)?([^/?#]+)(\/[^?#]*)?$/;
const DEFAULT_PORTS = { standalone: 6_379, cluster: 6_379, sentinel: 26_379 } as const;

/**
 * `redis://[user:password@]host[:port][/db]`, with TLS `rediss://`; `redis+cluster://[…@]host:port,host:port`;
 * `redis+sentinel://[…@]host:port,host:port/master[/db]`. Throws a sentence without the secret.
 */
export function parseRedisUrl(url: string): RedisTarget {
  const [matched, scheme, form, login, hosts = '', path = ''] = FORM.exec(url) ?? [];
  if (matched === undefined) throw new Error('is not of the form redis://[user:password@]host[:port][/db]');
  const kind = (form ?? 'standalone') as RedisTarget['kind'];
  const [first, ...others] = hosts.split(',').map((host) => parseAddress(host, DEFAULT_PORTS[kind]));
  if (first === undefined) throw new Error('names no host');
  if (kind === 'standalone' && others.length > 0)
    throw new Error('names several hosts; begin it with redis+cluster:// or redis+sentinel://');
  const names = path.split('/').filter(Boolean);
  const master = kind === 'sentinel' ? names.shift() : undefined;
  if (kind === 'sentinel' && master === undefined)
    throw new Error('needs the name of the master: redis+sentinel://host/name');
  if (kind === 'cluster' && names.length > 0) throw new Error('names a database, and a Cluster has only one');
  const [username, password] = parseLogin(login);
  return {
    kind,
    addresses: [first, ...others],
    tls: scheme === 'rediss',
    username,
    password,
    db: parseDb(names),
    master,
  };
}

/** Why a URL can't be used; undefined where it can. */
export function refuseRedisUrl(url: string): string | undefined {
  try {
    parseRedisUrl(url);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** For logs and `/ready`: where it is, without the secret. */
export function describeTarget({ kind, addresses, master }: RedisTarget): string {
  const where = addresses.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(', ');
  const what = { standalone: 'Redis at', cluster: 'Redis Cluster at', sentinel: `Redis ${master} by Sentinels at` }[
    kind
  ];
  return `${what} ${where}`;
}

function parseAddress(text: string, defaultPort: number): RedisAddress {
  const [, v6, name, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = v6 ?? name;
  const port = digits === undefined ? defaultPort : Number(digits);
  if (host === undefined || port > 65_535) throw new Error('names a host that is none; write host:port');
  return { host, port };
}

function parseLogin(login: string | undefined): [username: string | undefined, password: string | undefined] {
  if (login === undefined) return [undefined, undefined];
  const at = login.indexOf(':');
  const parts = at < 0 ? ['', login] : [login.slice(0, at), login.slice(at + 1)];
  const [username, password] = parts.map(decodePart);
  return [username || undefined, password || undefined];
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Error('has a user or password that is not percent-encoded');
  }
}

function parseDb([db = '0', ...rest]: readonly string[]): number {
  if (rest.length > 0 || !/^\d{1,5}$/.test(db)) throw new Error('names a database that is no number');
  return Number(db);
}
