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

export interface ModelFacts {
  readonly price: Price;
  /** Whether `price` is known; where it isn't, a budget in money can't be kept. */
  readonly isPriced: boolean;
  /** Undefined: not bounded by us. */
  readonly maxOutputTokens: number | undefined;
  /** Whether `tool_choice` `any` and `tool` are taken. */
  readonly forcesTools: boolean;
}

const perMillion = (input: number, cacheWrite: number, cacheRead: number, output: number): Price => ({
  input: input * 1_000,
  cacheWrite: cacheWrite * 1_000,
  cacheRead: cacheRead * 1_000,
  output: output * 1_000,
});

export const FREE: Price = perMillion(0, 0, 0, 0);

const HAIKU_5_5: Price = {
  ...perMillion(0.1, 0.125, 0.01, 0.5),
  long: { overTokens: 100_000, price: perMillion(0.5, 0.625, 0.05, 2.5) },
};

/** By the start of the model's name, the longest first. */
const TABLE: readonly (readonly [prefix: string, price: Price, maxOutputTokens: number])[] = [
  ['claude-fable-5-2', perMillion(8, 10, 0.8, 40), 128_000],
  ['claude-mythos-5-2', perMillion(8, 10, 0.8, 40), 128_000],
  ['claude-fable-5-1', perMillion(10, 12.5, 0.25, 50), 128_000],
  ['claude-mythos-5-1', perMillion(10, 12.5, 0.25, 50), 128_000],
  ['claude-opus-5-5', perMillion(4, 5, 0.2, 20), 128_000],
  ['claude-sonnet-5-5', perMillion(2, 2.5, 0.1, 10), 128_000],
  ['claude-haiku-5-5', HAIKU_5_5, 128_000],
  ['claude-opus-5', perMillion(5, 6.25, 0.5, 25), 128_000],
  ['claude-sonnet-5', perMillion(2, 2.5, 0.2, 10), 128_000],
  ['claude-opus-4', perMillion(5, 6.25, 0.5, 25), 128_000],
  ['claude-sonnet-4', perMillion(3, 3.75, 0.3, 15), 64_000],
  ['claude-haiku-4-5', perMillion(1, 1.25, 0.1, 5), 64_000],
];

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

/** What is known of a model; `UNKNOWN_MODEL` where nothing is. */
export function toModelFacts(model: string): ModelFacts {
  const row = TABLE.find(([prefix]) => model.startsWith(prefix));
  if (!row) return UNKNOWN_MODEL;
  return { price: row[1], isPriced: true, maxOutputTokens: row[2], forcesTools: !NEVER_FORCED.test(model) };
}

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
