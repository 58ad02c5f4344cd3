/** Which requests a fault proxy spoils, and how. */
import { createHash } from 'node:crypto';

/** A byte of a body; `random` for any, chosen by the proxy's seed. */
export type Offset = number | 'random';

export type Fault =
  /**
   * Breaks the connection with a RST, or sends nothing more and leaves it open. In a response (the default) that is after so
   * many bytes of its body: 0 for "done upstream, but the answer is lost". In a request it is after so many bytes were
   * passed on: 0 for "never arrived".
   */
  | { readonly do: 'reset' | 'stall'; readonly in?: 'request' | 'response'; readonly after?: Offset }
  /** Ends the connection in the middle of a response, as if that were its end. */
  | { readonly do: 'truncate'; readonly after: Offset }
  /** Flips one bit of the response's body. */
  | { readonly do: 'flip'; readonly at: Offset }
  /** Sends the response in pieces of so many bytes, one every so many milliseconds. */
  | { readonly do: 'slow'; readonly bytes: number; readonly every: number }
  /** Says a Content-Length that is off by so much, and ends the connection after the response. */
  | { readonly do: 'wrong-length'; readonly by: number }
  /** Answers in the registry's place. */
  | {
      readonly do: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Redirects to the same path at the proxy's second host. */
  | { readonly do: 'redirect' }
  /** Has uploads go on at the second host, by the `Location` of the answer. */
  | { readonly do: 'relocate' }
  /** Takes `Range` out of the request, so that all of the content comes. */
  | { readonly do: 'no-range' };

export interface Rule {
  readonly fault: Fault;
  readonly method?: string | RegExp;
  /** Compared with path and query. */
  readonly path?: RegExp;
  /** The host that is asked; both where left out, but redirects happen at the first only. */
  readonly host?: 'first' | 'second';
  /** Only requests whose body is larger, by its announced length. */
  readonly over?: number;
  /** Only these of the requests that match, counted from 1. */
  readonly nth?: number | readonly number[];
  /** At most so many. */
  readonly times?: number;
  /** Only so many of them, from 0 to 1, chosen by the proxy's seed. */
  readonly chance?: number;
}

/** What a proxy, a captive portal or a login page answers instead of a registry. */
export const htmlPage: Fault = {
  do: 'answer',
  status: 200,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body: '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n',
};

/** An answer that asks to come again after so many seconds. */
export function retryLater(status: 429 | 503, seconds: number | string): Fault {
  return { do: 'answer', status, headers: { 'retry-after': String(seconds) }, body: 'later' };
}

/** An answer without any sense to it: `500`, `502`, … */
export function failing(status: number): Fault {
  return { do: 'answer', status, headers: { 'content-type': 'text/plain' }, body: 'it went wrong' };
}

/** A number from 0 up to 1 that depends on `parts` alone. */
export function chanceOf(...parts: readonly (string | number)[]): number {
  return createHash('sha256').update(parts.join('\n')).digest().readUInt32BE(0) / 2 ** 32;
}

/** The faults of one request, put together. */
export interface Spoiling {
  readonly answer?: (Fault & { do: 'answer' }) | undefined;
  readonly redirect: boolean;
  readonly relocate: boolean;
  readonly noRange: boolean;
  readonly request?: { readonly how: 'reset' | 'stall'; readonly after: Offset } | undefined;
  readonly response?: { readonly how: 'reset' | 'stall' | 'truncate'; readonly after: Offset } | undefined;
  readonly flips: readonly Offset[];
  readonly slow?: { readonly bytes: number; readonly every: number } | undefined;
  readonly lengthBy: number;
  /** A place in 0 … `size` - 1 for `offset`, the same for the same seed and request. */
  place(offset: Offset, size: number): number;
  /** The names of the faults, for the log. */
  readonly names: readonly string[];
}

/** The part of a request that rules look at. */
export interface RuledRequest {
  readonly host: 'first' | 'second';
  readonly method: string;
  readonly target: string;
  /** The announced length of its body. */
  readonly length?: number;
}

/** Ids that registries make up differ from run to run; what a seed decides must not depend on them. */
function lasting(target: string): string {
  return target.replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|_state=[^&]*/g, '*');
}

/**
 * The rules of a proxy with their counts. Randomness hangs on the seed, the request and how often it came before, not on
 * the order in which different requests come.
 */
export class Rules {
  readonly #rules: { readonly rule: Rule; matched: number; applied: number }[] = [];
  readonly #seen = new Map<string, number>();

  constructor(readonly seed: string) {}

  add(...rules: readonly Rule[]): void {
    for (const rule of rules) this.#rules.push({ rule, matched: 0, applied: 0 });
  }

  clear(): void {
    this.#rules.length = 0;
  }

  /** The faults of all rules that this request falls under; counts it. */
  spoil(request: RuledRequest): Spoiling {
    const id = `${request.host} ${request.method} ${lasting(request.target)}`;
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
      counted.applied++;
      faults.push(rule.fault);
    }
    return putTogether(faults, (offset, size) =>
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

function putTogether(faults: readonly Fault[], place: Spoiling['place']): Spoiling {
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
