/** What went through a fault proxy. */
import type { IncomingHttpHeaders } from 'node:http';

/** One request, its figures growing until it has ended. */
export interface LoggedRequest {
  readonly host: 'first' | 'second';
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** The faults that it met. */
  readonly faults: readonly string[];
  /** Status of the answer; 0 where none was sent. */
  status: number;
  /** Byte of the content at which the answer's body begins. */
  from: number;
  /** Bytes of the answer's body that were sent. Of those before a reset some may not have been received. */
  sent: number;
  /** Bytes of the request's body that arrived. */
  received: number;
  ended: boolean;
}

/** Bytes of one content that were sent, those sent again counted each time, and how many different ones they were. */
export interface Served {
  readonly sent: number;
  readonly distinct: number;
}

/** The requests in the order in which they came. */
export class FaultLog {
  readonly requests: LoggedRequest[] = [];

  /** Forgets what came before. */
  clear(): void {
    this.requests.length = 0;
  }

  /** The requests of a method whose path and query fit. */
  find(method: string, target: RegExp = /./): LoggedRequest[] {
    return this.requests.filter((entry) => entry.method === method && target.test(entry.target));
  }

  /** The bytes of blobs and manifests that were sent, by digest. */
  served(): Map<string, Served> {
    const ranges = new Map<string, [start: number, end: number][]>();
    for (const { method, target, status, from, sent } of this.requests) {
      const digest = /\/(?:blobs|manifests)\/(sha\d+:[0-9a-f]+)(?:\?|$)/.exec(
        decodeURIComponent(target),
      )?.[1];
      if (digest === undefined || method !== 'GET' || (status !== 200 && status !== 206) || sent === 0)
        continue;
      const known = ranges.get(digest) ?? [];
      known.push([from, from + sent]);
      ranges.set(digest, known);
    }
    return new Map([...ranges].map(([digest, known]) => [digest, measure(known)]));
  }

  /** Bytes of blobs and manifests that were sent more than once. */
  sentAgain(): number {
    return [...this.served().values()].reduce((sum, { sent, distinct }) => sum + sent - distinct, 0);
  }

  /** Bytes of request bodies that arrived, of all or of those to paths that fit. */
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
