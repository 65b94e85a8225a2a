/** What a model request costs, in integer nano-dollars, and what its model can do. Source: the provider's price list. */
import type { Usage } from '../../protocol/index.js';

/** Nano-dollars per token: $1 per million tokens is 1,000. */
export interface Price {
  readonly input: number;
  readonly cacheWrite: number;
  readonly cacheRead: number;
  readonly output: number;
  /** Applies to every token of a request whose prompt is longer than `overTokens`. */
  readonly long?: { readonly overTokens: number; readonly price: Price };
}

/** The prices of a model, each from a moment on (milliseconds since 1970), the earliest first. */
export type PriceHistory = readonly { readonly from: number; readonly price: Price }[];

export interface ModelFacts {
  /** At the moment that was asked for. The same object as long as it is the same price. */
  readonly price: Price;
  /** Whether `price` is known; where it isn't, a budget in money can't be kept. */
  readonly isPriced: boolean;
  /** Undefined: not bounded by us. */
  readonly maxOutputTokens: number | undefined;
  /** Whether `tool_choice` `any` and `tool` are taken. */
  readonly forcesTools: boolean;
}

/** What is known of a model at a moment, milliseconds since 1970. */
export type FactsOf = (model: string, at: number) => ModelFacts;

const perMillion = (input: number, cacheWrite: number, cacheRead: number, output: number): Price => ({
  input: input * 1_000,
  cacheWrite: cacheWrite * 1_000,
  cacheRead: cacheRead * 1_000,
  output: output * 1_000,
});

export const FREE: Price = perMillion(0, 0, 0, 0);

const always = (price: Price): PriceHistory => [{ from: Number.NEGATIVE_INFINITY, price }];

const FABLE_5_2 = always(perMillion(8, 10, 0.8, 40));
const OPUS_4 = always(perMillion(5, 6.25, 0.5, 25));
const SONNET_4 = always(perMillion(3, 3.75, 0.3, 15));

/** By the model's name. Where a cache price is not published, the usual share of the input's stands: 1.25 and 0.1. */
const TABLE: Readonly<Record<string, { readonly prices: PriceHistory; readonly maxOutputTokens: number }>> = {
  'claude-fable-5-2': { prices: FABLE_5_2, maxOutputTokens: 128_000 },
  'claude-mythos-5-2': { prices: FABLE_5_2, maxOutputTokens: 128_000 },
  'claude-fable-5-1': { prices: always(perMillion(10, 12.5, 0.25, 50)), maxOutputTokens: 128_000 },
  'claude-opus-5-5': { prices: always(perMillion(4, 5, 0.2, 20)), maxOutputTokens: 128_000 },
  'claude-sonnet-5-5': {
    prices: [
      ...always(perMillion(2, 2.5, 0.2, 10)),
      { from: Date.UTC(2026, 9, 7), price: perMillion(2, 2.5, 0.1, 10) },
    ],
    maxOutputTokens: 128_000,
  },
  'claude-haiku-5-5': {
    prices: always({
      ...perMillion(0.1, 0.125, 0.01, 0.5),
      long: { overTokens: 100_000, price: perMillion(0.5, 0.625, 0.05, 2.5) },
    }),
    maxOutputTokens: 128_000,
  },
  'claude-opus-5': { prices: OPUS_4, maxOutputTokens: 128_000 },
  'claude-sonnet-5': { prices: always(perMillion(2, 2.5, 0.2, 10)), maxOutputTokens: 128_000 },
  'claude-opus-4-8': { prices: OPUS_4, maxOutputTokens: 128_000 },
  'claude-opus-4-7': { prices: OPUS_4, maxOutputTokens: 128_000 },
  'claude-opus-4-6': { prices: OPUS_4, maxOutputTokens: 128_000 },
  'claude-opus-4-5': { prices: OPUS_4, maxOutputTokens: 128_000 },
  'claude-sonnet-4-6': { prices: SONNET_4, maxOutputTokens: 64_000 },
  'claude-sonnet-4-5': { prices: SONNET_4, maxOutputTokens: 64_000 },
  'claude-haiku-4-5': { prices: always(perMillion(1, 1.25, 0.1, 5)), maxOutputTokens: 64_000 },
};

/** These refuse `tool_choice` `any` and `tool`. */
const NEVER_FORCED = /^claude-(opus-5-5|sonnet-5-5|fable-5-[12]|mythos-5-[12])/;

export const UNKNOWN_MODEL: ModelFacts = {
  price: FREE,
  isPriced: false,
  maxOutputTokens: undefined,
  forcesTools: true,
};

/** A model that costs nothing: the scripted one. */
export const FREE_MODEL: ModelFacts = { ...UNKNOWN_MODEL, isPriced: true };

/**
 * What is known of a model at a moment, by its name with or without the date of its snapshot. Another model of the
 * family may cost something else, so that a name that is only alike finds nothing.
 */
export function toModelFacts(model: string, at: number, own?: PriceHistory): ModelFacts {
  const name = toUndated(model);
  const row = Object.hasOwn(TABLE, name) ? TABLE[name] : undefined;
  const price = (own && priceAt(own, at)) ?? (row && priceAt(row.prices, at));
  return {
    price: price ?? FREE,
    isPriced: price !== undefined,
    maxOutputTokens: row?.maxOutputTokens,
    forcesTools: !NEVER_FORCED.test(model),
  };
}

/** A model's name without the date of its snapshot. */
export const toUndated = (model: string): string => model.replace(/-\d{8}$/, '');

const priceAt = (history: PriceHistory, at: number): Price | undefined =>
  history.findLast(({ from }) => from <= at)?.price;

/** Rounded up to whole nano-dollars. */
export function toCostNanoUsd(price: Price, usage: Usage): number {
  const prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  const { input, cacheWrite, cacheRead, output } =
    price.long && prompt > price.long.overTokens ? price.long.price : price;
  return Math.ceil(
    usage.input_tokens * input +
      usage.cache_creation_input_tokens * cacheWrite +
      usage.cache_read_input_tokens * cacheRead +
      usage.output_tokens * output,
  );
}
