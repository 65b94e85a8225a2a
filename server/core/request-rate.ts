/**
 * How many requests may begin: the generic cell rate algorithm. All that is kept of a user is one time, in whole
 * microseconds: when everything that was taken will have come back.
 */

/** Microseconds since 1970, as long as it is ahead of the clock; undefined where all of the limit may be begun. */
export type ArrivalTime = number | undefined;

export interface RateState {
  /** Requests that may still begin at once. */
  readonly remaining: number;
  /** Until one more may begin; 0 where one may begin now. */
  readonly retryAfterMs: number;
  /** Until all of the limit may begin again. */
  readonly resetMs: number;
}

const MINUTE_US = 60_000_000;

/** Rounded up, so that a minute never lets more come back than the limit. */
const intervalOf = (perMinute: number): number => Math.ceil(MINUTE_US / perMinute);

/** What is taken and has not come back. A clock that was set back makes nobody wait longer than for a full limit. */
function owed(arrival: ArrivalTime, nowUs: number, perMinute: number): number {
  if (arrival === undefined) return 0;
  return Math.min(Math.max(0, arrival - nowUs), perMinute * intervalOf(perMinute));
}

/** Takes one: the time to keep; undefined where it is refused, and nothing changes. */
export function takeOne(arrival: ArrivalTime, nowUs: number, perMinute: number): number | undefined {
  const interval = intervalOf(perMinute);
  const next = owed(arrival, nowUs, perMinute) + interval;
  return next <= perMinute * interval ? nowUs + next : undefined;
}

/** Gives one back: as if it had not been taken, or less where it has come back meanwhile. */
export function giveOneBack(arrival: ArrivalTime, nowUs: number, perMinute: number): ArrivalTime {
  if (arrival === undefined) return undefined;
  const before = arrival - intervalOf(perMinute);
  return before > nowUs ? before : undefined;
}

export function toRateState(arrival: ArrivalTime, nowUs: number, perMinute: number): RateState {
  const interval = intervalOf(perMinute);
  const taken = owed(arrival, nowUs, perMinute);
  const free = perMinute * interval - taken;
  const remaining = Math.floor(free / interval);
  return {
    remaining,
    retryAfterMs: remaining > 0 ? 0 : Math.ceil((interval - free) / 1_000),
    resetMs: Math.ceil(taken / 1_000),
  };
}
