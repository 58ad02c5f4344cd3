/** The log of a fault proxy. */
import type { IncomingHttpHeaders } from 'node:http';

/** One request; its numbers grow until it has ended. */
export interface LoggedRequest {
  readonly host: 'first' | 'second';
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** Names of the faults applied to the request. */
  readonly faults: readonly string[];
  /** Status of the response; 0 if none was sent. */
  status: number;
  /** Offset in the content at which the response's body begins. */
  from: number;
  /** Bytes of the response's body that were sent. Some of the bytes before a reset may not have been received. */
  sent: number;
  /** Bytes of the request's body that were received. */
  received: number;
  ended: boolean;
}

/** Bytes sent of one content: with repetitions (`sent`), and each byte once (`distinct`). */
export interface Served {
  readonly sent: number;
  readonly distinct: number;
}

/** All requests, in order of arrival. */
export class FaultLog {
  readonly requests: LoggedRequest[] = [];

  /** Removes all requests. */
  clear(): void {
    this.requests.length = 0;
  }

  /** Returns the requests of a method whose path and query match. */
  find(method: string, target: RegExp = /./): LoggedRequest[] {
    return this.requests.filter((entry) => entry.method === method && target.test(entry.target));
  }

  /** Returns the bytes of blobs and manifests that were sent, by digest. */
  served(): Map<string, Served> {
    const ranges = new Map<string, [start: number, end: number][]>();
    for (const { method, target, status, from, sent } of this.requests) {
      const digest = /\/(?:blobs|manifests)\/(sha\d+:[0-9a-f]+)(?:\?|$)/.exec(
        decodeURIComponent(target),
      )?.[1];
      if (digest === undefined || method !== 'GET' || (status !== 200 && status !== 206) || sent === 0)
        continue;
      const rangesOfDigest = ranges.get(digest) ?? [];
      rangesOfDigest.push([from, from + sent]);
      ranges.set(digest, rangesOfDigest);
    }
    return new Map([...ranges].map(([digest, sentRanges]) => [digest, measure(sentRanges)]));
  }

  /** Returns the number of bytes of blobs and manifests that were sent more than once. */
  sentAgain(): number {
    return [...this.served().values()].reduce((sum, { sent, distinct }) => sum + sent - distinct, 0);
  }

  /** Returns the bytes received in bodies of requests whose path and query match. */
  received(target: RegExp = /./): number {
    return this.requests.reduce((sum, entry) => sum + (target.test(entry.target) ? entry.received : 0), 0);
  }
}

function measure(ranges: [start: number, end: number][]): Served {
  let sent = 0;
  let distinct = 0;
  let covered = 0;
  for (const [start, end] of ranges.sort((a, b) => a[0] - b[0])) {
    sent += end - start;
    distinct += Math.max(0, end - Math.max(start, covered));
    covered = Math.max(covered, end);
  }
  return { sent, distinct };
}
