import { headerOf, type WireAnswer } from './wire.js';

/** How many manifest downloads a registry still allows (Docker Hub's `ratelimit-*` headers, after draft-polli-ratelimit-headers). */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  /** Seconds of the window that the limit is for. */
  readonly window: number | undefined;
}

function parse(header: string | undefined): { count: number; window: number | undefined } | undefined {
  const match = /^\s*(\d{1,12})\s*(?:;.*?\bw=(\d{1,9}))?/.exec(header ?? '');
  if (match === null) return undefined;
  return { count: Number(match[1]), window: match[2] === undefined ? undefined : Number(match[2]) };
}

/** Reads `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`, where an answer has both. */
export function rateLimitOf(answer: Pick<WireAnswer, 'headers'>): RateLimit | undefined {
  const limit = parse(headerOf(answer, 'ratelimit-limit'));
  const remaining = parse(headerOf(answer, 'ratelimit-remaining'));
  if (limit === undefined || remaining === undefined) return undefined;
  return { limit: limit.count, remaining: remaining.count, window: limit.window ?? remaining.window };
}
