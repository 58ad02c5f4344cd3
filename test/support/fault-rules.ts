/** Rules of a fault proxy: which requests it disturbs, and how. */
import { createHash } from 'node:crypto';

/** Offset in a body; `random` is derived from the proxy's seed. */
export type Offset = number | 'random';

export type Fault =
  /**
   * Breaks the connection with a RST, or stops sending and keeps it open. In a response (the default) this happens after
   * `after` bytes of the body: 0 loses the response of a completed request. In a request it happens after `after` bytes were
   * forwarded: 0 means that the request never arrives.
   */
  | { readonly do: 'reset' | 'stall'; readonly in?: 'request' | 'response'; readonly after?: Offset }
  /** Closes the connection in the middle of a response, without an error. */
  | { readonly do: 'truncate'; readonly after: Offset }
  /** Flips one bit in the response's body. */
  | { readonly do: 'flip'; readonly at: Offset }
  /** Sends the response in pieces of `bytes` bytes, one every `every` milliseconds. */
  | { readonly do: 'slow'; readonly bytes: number; readonly every: number }
  /** Changes Content-Length by `by`, and closes the connection after the response. */
  | { readonly do: 'wrong-length'; readonly by: number }
  /** Responds in place of the registry. */
  | {
      readonly do: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Redirects to the same path on the proxy's second host. */
  | { readonly do: 'redirect' }
  /** Moves uploads to the second host, with the `Location` of the response. */
  | { readonly do: 'relocate' }
  /** Removes `Range` from the request, so that the response has the whole content. */
  | { readonly do: 'no-range' };

export interface Rule {
  readonly fault: Fault;
  readonly method?: string | RegExp;
  /** Matched against path and query. */
  readonly path?: RegExp;
  /** The proxy's host that received the request (default: both, except that only the first redirects). */
  readonly host?: 'first' | 'second';
  /** Only requests whose Content-Length is larger. */
  readonly over?: number;
  /** Only these of the matching requests, counted from 1. */
  readonly nth?: number | readonly number[];
  /** Maximum number of requests. */
  readonly times?: number;
  /** Maximum number of requests with the same path: some faults of one blob are retried only once. */
  readonly timesPerPath?: number;
  /** Share of the matching requests, from 0 to 1, chosen by the proxy's seed. */
  readonly chance?: number;
}

/** The response of a captive portal or a login page in front of a registry. */
export const htmlPage: Fault = {
  do: 'answer',
  status: 200,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body: '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n',
};

/** Returns a response with Retry-After. */
export function retryLater(status: 429 | 503, seconds: number | string): Fault {
  return { do: 'answer', status, headers: { 'retry-after': String(seconds) }, body: 'later' };
}

/** Returns an error response without details: `500`, `502`, … */
export function failing(status: number): Fault {
  return { do: 'answer', status, headers: { 'content-type': 'text/plain' }, body: 'it went wrong' };
}

/** Returns a number from 0 up to, but not including, 1 that depends only on `parts`. */
export function chanceOf(...parts: readonly (string | number)[]): number {
  return createHash('sha256').update(parts.join('\n')).digest().readUInt32BE(0) / 2 ** 32;
}

/** The combined faults of one request. */
export interface FaultEffects {
  readonly answer?: (Fault & { do: 'answer' }) | undefined;
  readonly redirect: boolean;
  readonly relocate: boolean;
  readonly noRange: boolean;
  readonly request?: { readonly how: 'reset' | 'stall'; readonly after: Offset } | undefined;
  readonly response?: { readonly how: 'reset' | 'stall' | 'truncate'; readonly after: Offset } | undefined;
  readonly flips: readonly Offset[];
  readonly slow?: { readonly bytes: number; readonly every: number } | undefined;
  readonly lengthBy: number;
  /** Resolves `offset` in a body of `size` bytes; the result depends only on seed and request. */
  place(offset: Offset, size: number): number;
  /** The names of the faults, for the log. */
  readonly names: readonly string[];
}

/** The properties of a request that rules match. */
export interface RuledRequest {
  readonly host: 'first' | 'second';
  readonly method: string;
  readonly target: string;
  /** The Content-Length of the request. */
  readonly length?: number;
}

/** Replaces upload IDs, which differ from run to run: the seed's choices must not depend on them. */
function withoutIds(target: string): string {
  return target.replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|_state=[^&]*/g, '*');
}

/**
 * The rules of a proxy with their counts. Random choices depend on the seed, the request and its number of repetitions, not on
 * the order of different requests.
 */
export class Rules {
  readonly #rules: {
    readonly rule: Rule;
    readonly byPath: Map<string, number>;
    matched: number;
    applied: number;
  }[] = [];
  readonly #seen = new Map<string, number>();

  constructor(readonly seed: string) {}

  add(...rules: readonly Rule[]): void {
    for (const rule of rules) this.#rules.push({ rule, byPath: new Map(), matched: 0, applied: 0 });
  }

  clear(): void {
    this.#rules.length = 0;
  }

  /** Returns the faults of all rules that match the request, and counts it. */
  apply(request: RuledRequest): FaultEffects {
    const id = `${request.host} ${request.method} ${withoutIds(request.target)}`;
    const time = (this.#seen.get(id) ?? 0) + 1;
    this.#seen.set(id, time);
    const faults: Fault[] = [];
    for (const [at, counted] of this.#rules.entries()) {
      const { rule } = counted;
      if (!matches(rule, request)) continue;
      counted.matched++;
      if (rule.nth !== undefined && ![rule.nth].flat().includes(counted.matched)) continue;
      if (rule.times !== undefined && counted.applied >= rule.times) continue;
      if (rule.chance !== undefined && chanceOf(this.seed, at, id, time) >= rule.chance) continue;
      const ofPath = counted.byPath.get(request.target) ?? 0;
      if (rule.timesPerPath !== undefined && ofPath >= rule.timesPerPath) continue;
      counted.byPath.set(request.target, ofPath + 1);
      counted.applied++;
      faults.push(rule.fault);
    }
    return combine(faults, (offset, size) =>
      offset === 'random' ? Math.floor(chanceOf(this.seed, 'offset', id, time) * Math.max(1, size)) : offset,
    );
  }
}

function matches({ method, path, host, over, fault }: Rule, request: RuledRequest): boolean {
  if (fault.do === 'redirect' && request.host === 'second') return false;
  if (host !== undefined && host !== request.host) return false;
  if (path !== undefined && !path.test(request.target)) return false;
  if (over !== undefined && (request.length ?? 0) <= over) return false;
  if (method === undefined) return true;
  return typeof method === 'string' ? method === request.method : method.test(request.method);
}

function combine(faults: readonly Fault[], place: FaultEffects['place']): FaultEffects {
  const of = <K extends Fault['do']>(kind: K): (Fault & { do: K }) | undefined =>
    faults.find((fault): fault is Fault & { do: K } => fault.do === kind);
  const breaks = faults.filter(
    (fault): fault is Fault & { do: 'reset' | 'stall' } => fault.do === 'reset' || fault.do === 'stall',
  );
  const inRequest = breaks.find((fault) => fault.in === 'request');
  const inResponse = breaks.find((fault) => fault.in !== 'request');
  const truncate = of('truncate');
  return {
    answer: of('answer'),
    redirect: of('redirect') !== undefined,
    relocate: of('relocate') !== undefined,
    noRange: of('no-range') !== undefined,
    request: inRequest && { how: inRequest.do, after: inRequest.after ?? 0 },
    response:
      (inResponse && { how: inResponse.do, after: inResponse.after ?? 0 }) ??
      (truncate && { how: 'truncate', after: truncate.after }),
    flips: faults.flatMap((fault) => (fault.do === 'flip' ? [fault.at] : [])),
    slow: of('slow'),
    lengthBy: of('wrong-length')?.by ?? 0,
    place,
    names: faults.map((fault) => fault.do),
  };
}
