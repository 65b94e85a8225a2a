import { Watchdog } from '../../server/adapters/anthropic/watchdog.js';

describe('the watchdog of a stream', () => {
  let expired: unknown[][];
  let watchdog: Watchdog;

  beforeEach(() => {
    jest.useFakeTimers();
    expired = [];
    watchdog = new Watchdog((...said) => expired.push(said));
  });

  afterEach(() => {
    watchdog.stop();
    jest.useRealTimers();
  });

  it('says what was missing, once', () => {
    watchdog.expect('headers', 100);
    jest.advanceTimersByTime(98);
    expect(expired).toEqual([]);
    jest.advanceTimersByTime(500);
    expect(expired).toEqual([['headers', 100]]);
  });

  it('leaves a stream alone that says something before each limit, on one timer', () => {
    watchdog.expect('silence', 100);
    for (let n = 0; n < 1_000; n += 1) {
      jest.advanceTimersByTime(90);
      watchdog.expect('silence', 100);
      expect(jest.getTimerCount()).toBe(1);
    }
    expect(expired).toEqual([]);
    jest.advanceTimersByTime(101);
    expect(expired).toEqual([['silence', 100]]);
  });

  it('takes a nearer deadline as well as a farther one', () => {
    watchdog.expect('first_content', 1_000);
    watchdog.expect('silence', 50);
    jest.advanceTimersByTime(51);
    expect(expired).toEqual([['silence', 50]]);
  });

  it('is quiet once it was stopped', () => {
    watchdog.expect('headers', 100);
    watchdog.stop();
    jest.advanceTimersByTime(1_000);
    expect(expired).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });
});
