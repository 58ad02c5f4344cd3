const longest = 30_000;

/** Milliseconds to wait before try number `attempt` (the first is 1) is made again: exponential, with jitter. */
export function backoff(attempt: number, first: number): number {
  const ceiling = Math.min(longest, first * 2 ** (attempt - 1));
  return Math.round(ceiling / 2 + (Math.random() * ceiling) / 2);
}

/**
 * Milliseconds that a `Retry-After` header asks to wait, in seconds or as a date (RFC 9110 section 10.2.3), or undefined where
 * there is none or it can't be read.
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Za-z]/.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Whether a registry that answers with `status` may answer better a moment later (408, 5xx: RFC 9110 section 15; 429: RFC 6585). */
export function isPassing(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}
