/** A token issuer on loopback: real keys, a real key set over HTTP that can rotate, fail and hang. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from 'jose';

export const ISSUER = 'https://issuer.test';
export const AUDIENCE = 'midstream';

export interface IssuerKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

export interface TokenOptions {
  readonly sub?: string;
  readonly claims?: Record<string, unknown>;
  readonly header?: Partial<JWTHeaderParameters>;
  readonly key?: IssuerKey;
  /** Seconds from now. */
  readonly expiresIn?: number;
  readonly nowMs?: number;
}

export async function makeKey(kid: string, alg = 'ES256'): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

/** A token as an honest issuer makes it; `claims` set to undefined leaves one out. */
export async function signToken(key: IssuerKey, options: TokenOptions = {}): Promise<string> {
  const now = Math.floor((options.nowMs ?? Date.now()) / 1_000);
  const claims = {
    iss: ISSUER,
    aud: AUDIENCE,
    sub: options.sub ?? 'alice',
    org: 'acme',
    roles: ['admin'],
    iat: now,
    exp: now + (options.expiresIn ?? 600),
    ...options.claims,
  };
  return new SignJWT(claims)
    .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'JWT', ...options.header })
    .sign(key.privateKey);
}

/** A token of whatever parts, with whatever signature. */
export function rawToken(header: unknown, payload: unknown, signature = ''): string {
  const parts = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return [...parts, signature].join('.');
}

export class Issuer {
  keys: IssuerKey[] = [];
  /** How the key set is answered for. */
  mood: 'well' | 'failing' | 'hanging' | 'redirecting' | 'babbling' | 'endless' = 'well';
  fetches = 0;
  readonly #server: Server;
  #waiting: (() => void)[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<Issuer> {
    const server = createServer();
    const issuer = new Issuer(server);
    server.on('request', (_req, res) => {
      issuer.fetches += 1;
      for (const wake of issuer.#waiting.splice(0)) wake();
      switch (issuer.mood) {
        case 'well':
          res.end(JSON.stringify(issuer.keySet));
          return;
        case 'failing':
          res.writeHead(503).end();
          return;
        case 'redirecting':
          res.writeHead(302, { location: '/elsewhere' }).end();
          return;
        case 'babbling':
          res.end('<html>');
          return;
        case 'endless':
          res.end('x'.repeat(2 * 1_048_576));
          return;
        case 'hanging':
          return;
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return issuer;
  }

  get keySet(): { keys: JWK[] } {
    return { keys: this.keys.map(({ publicJwk }) => publicJwk) };
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/jwks`;
  }

  /** A new key beside those there are. */
  async addKey(kid: string, alg?: string): Promise<IssuerKey> {
    const key = await makeKey(kid, alg);
    this.keys.push(key);
    return key;
  }

  /** Signs with the newest key. */
  token(options: TokenOptions = {}): Promise<string> {
    const key = options.key ?? this.keys.at(-1);
    if (key === undefined) throw new Error('the issuer has no key');
    return signToken(key, options);
  }

  /** Resolves at the next fetch. */
  nextFetch(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
