import type { IncomingMessage, ServerResponse } from 'node:http';

/** Bytes per second, on average over the period, that a client has to send or to accept. */
const slowestPace = 1024;

/** Checks per period. A slow client is dropped one check after a full period at the latest. */
const checks = 8;

interface Watched {
  readonly response: ServerResponse;
  /** Bytes that the connection had transferred at each of the last checks, while the server waited without a break. */
  waiting: number[];
}

/**
 * Drops clients that are slower than 1 KiB/s on average over the last `period` while the server waits for them: those that drip their
 * requests, or accept their answers a few bytes at a time. Time that the server itself needs does not count.
 */
export class PaceWatch {
  readonly #requests = new Map<IncomingMessage, Watched>();
  readonly #timer: NodeJS.Timeout;

  /** @param period milliseconds */
  constructor(private readonly period: number) {
    this.#timer = setInterval(() => this.#check(), period / checks).unref();
  }

  add(request: IncomingMessage, response: ServerResponse): void {
    this.#requests.set(request, { response, waiting: [] });
  }

  /** Stops watching a request that was answered, unless it is still being sent, as one that was refused at once may be. */
  answered(request: IncomingMessage): void {
    if (isOver(request)) this.#requests.delete(request);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    for (const [request, watched] of this.#requests) {
      if (watched.response.closed && isOver(request)) this.#requests.delete(request);
      else this.#checkOne(request, watched);
    }
  }

  #checkOne(request: IncomingMessage, watched: Watched): void {
    const { socket } = request;
    const waitsForBody = !request.complete && request.readableLength === 0;
    if (!watched.response.writableNeedDrain && !waitsForBody) {
      watched.waiting = [];
      return;
    }
    const now = socket.bytesRead + socket.bytesWritten;
    const [first = now] = watched.waiting;
    if (watched.waiting.length === checks && now - first < (slowestPace * this.period) / 1000)
      socket.destroy();
    watched.waiting = [...watched.waiting.slice(-checks + 1), now];
  }
}

function isOver(request: IncomingMessage): boolean {
  return request.complete || request.destroyed;
}
