import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { type LogLevel, createLogger, silentLogger } from '../../server/adapters/winston/logger.js';
import { Secret } from '../../server/config/index.js';

function setup(level: LogLevel = 'debug') {
  const stream = new PassThrough();
  const logger = createLogger({ level, stream });
  const lines = (): string[] => ((stream.read() as Buffer | null)?.toString() ?? '').split('\n').slice(0, -1);
  return { logger, lines, records: () => lines().map((line) => JSON.parse(line)) };
}

describe('createLogger', () => {
  it('writes one JSON line per record', () => {
    const { logger, lines } = setup();
    logger.info('listening\non', { port: 8080, deep: { a: [1] } });
    logger.warn('plain');
    const [first = '', second = '', ...rest] = lines();
    expect(first).toMatch(
      /^\{"ts":"\d{4}-\d\d-\d\dT[\d:.]+Z","level":"info","msg":"listening\\non","port":8080,"deep":\{"a":\[1\]\}\}$/,
    );
    expect(JSON.parse(second)).toEqual({ ts: expect.any(String), level: 'warn', msg: 'plain' });
    expect(rest).toEqual([]);
  });

  it('adds the fields of a child to each of its records, and to no other’s', () => {
    const { logger, records } = setup();
    const request = logger.child({ request_id: 'req_1', path: '/a' });
    request.child({ session_id: 'sesn_1', path: '/b' }).info('x', { turn_id: 'turn_1' });
    request.info('y');
    logger.info('z');
    expect(records()).toMatchObject([
      { request_id: 'req_1', session_id: 'sesn_1', path: '/b', turn_id: 'turn_1' },
      { request_id: 'req_1', path: '/a' },
      expect.not.objectContaining({ request_id: 'req_1' }),
    ]);
  });

  it('lets no field pass for time, level or message', () => {
    const { logger, records } = setup();
    logger.info('real', { msg: 'forged', level: 'error', ts: 'never', message: 'own field' });
    expect(records()).toEqual([
      { ts: expect.stringMatching(/^\d{4}-/), level: 'info', msg: 'real', message: 'own field' },
    ]);
  });

  it('writes errors with name, message, stack, code and cause', () => {
    const { logger, records } = setup();
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    logger.error('failed', { error: new TypeError('bad', { cause }) });
    expect(records()[0].error).toEqual({
      name: 'TypeError',
      message: 'bad',
      stack: expect.stringContaining('TypeError: bad\n'),
      cause: { name: 'Error', message: 'refused', code: 'ECONNREFUSED', stack: expect.any(String) },
    });
  });

  it.each<[LogLevel, string[]]>([
    ['error', ['error']],
    ['warn', ['warn', 'error']],
    ['info', ['info', 'warn', 'error']],
    ['debug', ['debug', 'info', 'warn', 'error']],
    ['silent', []],
  ])('writes at level %s only %j', (level, written) => {
    const { logger, records } = setup(level);
    for (const method of ['debug', 'info', 'warn', 'error'] as const) logger[method](method);
    expect(records().map((r) => r.level)).toEqual(written);
  });

  it('survives what JSON cannot hold, and says which fields they were', () => {
    const { logger, records } = setup();
    const loop: Record<string, unknown> = {};
    loop['self'] = loop;
    logger.info('loop', { loop, count: 1 });
    logger.info('big', { count: 10n });
    expect(records()).toMatchObject([
      { msg: 'loop', unserialisable: ['loop', 'count'] },
      { msg: 'big', count: '10' },
    ]);
  });

  it('writes no secret', () => {
    const { logger, lines } = setup();
    logger.info('config', { key: new Secret('hush') });
    expect(lines()[0]).toContain('"key":"[secret]"');
  });

  it('keeps every record, in order, while its stream takes none', async () => {
    const stream = new PassThrough();
    const logger = createLogger({ level: 'info', stream });
    for (let n = 0; n < 1_000; n++) logger.info('n', { n });
    const seen: number[] = [];
    for await (const line of createInterface({ input: stream })) {
      seen.push(JSON.parse(line).n);
      if (seen.length === 1_000) break;
    }
    expect(seen).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
  });
});

describe('silentLogger', () => {
  it('takes everything and has children', () => {
    expect(() => silentLogger.child({ a: 1 }).error('x', { b: 2 })).not.toThrow();
  });
});
