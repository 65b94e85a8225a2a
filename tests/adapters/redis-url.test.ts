/** What URLs of Redis say, and that a refusal never holds the secret. */
import { describeTarget, parseRedisUrl } from '../../server/adapters/redis/redis-url.js';

const BARE = { tls: false, username: undefined, password: undefined, db: 0, master: undefined };

it.each([
  ['redis://localhost', { ...BARE, kind: 'standalone', addresses: [{ host: 'localhost', port: 6_379 }] }],
  ['redis://10.0.0.1:7000/3', { ...BARE, kind: 'standalone', addresses: [{ host: '10.0.0.1', port: 7_000 }], db: 3 }],
  ['redis://[::1]:7000', { ...BARE, kind: 'standalone', addresses: [{ host: '::1', port: 7_000 }] }],
  [
    'rediss://:p%40ss@h',
    { ...BARE, kind: 'standalone', tls: true, password: 'p@ss', addresses: [{ host: 'h', port: 6_379 }] },
  ],
  [
    'redis://bob:a:b@h',
    { ...BARE, kind: 'standalone', username: 'bob', password: 'a:b', addresses: [{ host: 'h', port: 6_379 }] },
  ],
  ['redis://secret@h', { ...BARE, kind: 'standalone', password: 'secret', addresses: [{ host: 'h', port: 6_379 }] }],
  [
    'redis+cluster://a:1,b:2',
    {
      ...BARE,
      kind: 'cluster',
      addresses: [
        { host: 'a', port: 1 },
        { host: 'b', port: 2 },
      ],
    },
  ],
  [
    'redis+sentinel://:x@a,b:2/mymaster/1',
    {
      ...BARE,
      kind: 'sentinel',
      password: 'x',
      master: 'mymaster',
      db: 1,
      addresses: [
        { host: 'a', port: 26_379 },
        { host: 'b', port: 2 },
      ],
    },
  ],
])('reads %s', (url, target) => expect(parseRedisUrl(url)).toEqual(target));

it.each([
  ['http://h', 'is not of the form'],
  ['localhost:6379', 'is not of the form'],
  ['redis://', 'is not of the form'],
  ['redis://a:1,b:2', 'redis+cluster://'],
  ['redis+sentinel://a', 'name of the master'],
  ['redis+cluster://a/1', 'has only one'],
  ['redis://hunter2@h/x', 'no number'],
  ['redis://hunter2@h/1/2', 'no number'],
  ['redis://hunter2@h:99999', 'no'],
  ['redis://hunter2%@h', 'not percent-encoded'],
])('refuses %s with a sentence', (url, sentence) => {
  let message = '';
  try {
    parseRedisUrl(url);
  } catch (error) {
    message = (error as Error).message;
  }
  expect(message).toContain(sentence);
  expect(message).not.toContain('hunter2');
});

it('is described without its secret', () => {
  expect(describeTarget(parseRedisUrl('rediss://bob:hunter2@h:1'))).toBe('Redis at h:1');
  expect(describeTarget(parseRedisUrl('redis+cluster://:hunter2@a:1,[::1]:2'))).toBe('Redis Cluster at a:1, [::1]:2');
  expect(describeTarget(parseRedisUrl('redis+sentinel://:hunter2@a:1/m'))).toBe('Redis m by Sentinels at a:1');
});
