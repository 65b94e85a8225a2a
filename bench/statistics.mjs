/** Percentiles, medians, and the one clock that all processes of a run share. */

/** Microseconds of the machine's monotonic clock: comparable between processes, unlike `performance.now()`. */
export function nowUs() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1e3);
}

/** Sorts in place. `share` is 0.5 for the median; undefined where there is no value. */
export function percentile(values, share) {
  if (values.length === 0) return undefined;
  values.sort((a, b) => a - b);
  return values[Math.min(values.length - 1, Math.floor(values.length * share))];
}

export const median = (values) => percentile([...values], 0.5);

/** p50 and p99 of microseconds, in milliseconds. */
export const toSpread = (valuesUs) => ({
  p50Ms: percentile(valuesUs, 0.5) / 1e3,
  p99Ms: percentile(valuesUs, 0.99) / 1e3,
});
