/** What the configuration says of prices, in the words of the core. It comes before what is built in. */
import type { Config, PriceConfig } from '../config/index.js';
import { type FactsOf, type Price, type PriceHistory, toModelFacts, toUndated } from '../core/prices.js';

export function createFactsOf(prices: Config['prices']): FactsOf {
  const own = new Map(Object.entries(prices).map(([model, entry]) => [model, toHistory(entry)]));
  return (model, at) => toModelFacts(model, at, own.get(model) ?? own.get(toUndated(model)));
}

const toHistory = (entry: Config['prices'][string]): PriceHistory =>
  (Array.isArray(entry) ? entry : [entry]).map((price: PriceConfig) => ({
    from: price.from === undefined ? Number.NEGATIVE_INFINITY : Date.parse(price.from),
    price: toPrice(price),
  }));

function toPrice({ long_context: long, ...price }: PriceConfig): Price {
  const base = toTier(price);
  return long ? { ...base, long: { overTokens: long.over_tokens, price: toTier(long) } } : base;
}

/** Without prices for the cache: what writing usually costs, and for reading no rebate. */
const toTier = ({ input, output, cache_write, cache_read }: Omit<PriceConfig, 'from' | 'long_context'>): Price => ({
  input: toNanoUsd(input),
  cacheWrite: toNanoUsd(cache_write ?? input * 1.25),
  cacheRead: toNanoUsd(cache_read ?? input),
  output: toNanoUsd(output),
});

/** Per token, from dollars per million; the rounding takes only what binary fractions add. */
const toNanoUsd = (usdPerMillion: number): number => Math.round(usdPerMillion * 1e6) / 1e3;
