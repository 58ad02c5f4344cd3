import type { IncomingMessage, ServerResponse } from 'node:http';

/** Bytes per second, on average over the period, that a client has to send or to accept. */
const slowestPace = 1024;

/** Checks per period. A slow client is dropped one check after a full period at the latest. */
const checks = 8;

/**
 * Drops a client that is slower than 1 KiB/s on average over the last `period` while the server waits for it: one that drips its
 * request, or accepts its answer a few bytes at a time. Time that the server itself needs does not count.
 * @param period milliseconds
 */
export function watchPace(request: IncomingMessage, response: ServerResponse, period: number): void {
  const { socket } = request;
  /** Bytes that the connection had transferred at each of the last checks, while the server waited without a break. */
  let waiting: number[] = [];
  const timer = setInterval(() => {
    const waitsForBody = !request.complete && request.readableLength === 0;
    if (!response.writableNeedDrain && !waitsForBody) {
      waiting = [];
      return;
    }
    const now = socket.bytesRead + socket.bytesWritten;
    const [first = now] = waiting;
    if (waiting.length === checks && now - first < (slowestPace * period) / 1000) socket.destroy();
    waiting = [...waiting.slice(-checks + 1), now];
  }, period / checks);
  timer.unref();
  // A request that is refused at once may still be sent.
  const stop = (): void => {
    if (response.closed && (request.complete || request.destroyed)) clearInterval(timer);
  };
  response.once('close', stop);
  request.once('end', stop).once('close', stop);
}
