import type { IncomingMessage, ServerResponse } from 'node:http';

/** Bytes a second, on average over the time it is watched, that a client has to send or to take. */
const slowestPace = 1024;

/**
 * Drops a client that is slower than 1 KiB/s on average over each `period` while the server waits for it: one that drips its request,
 * or takes its answer by a few bytes at a time. Time that the server itself needs does not count.
 * @param period milliseconds
 */
export function watchPace(request: IncomingMessage, response: ServerResponse, period: number): void {
  const { socket } = request;
  let before = socket.bytesRead + socket.bytesWritten;
  let wasWaiting = false;
  const timer = setInterval(() => {
    const now = socket.bytesRead + socket.bytesWritten;
    const waitsForBody = !request.complete && request.readableLength === 0;
    const isWaiting = response.writableNeedDrain || waitsForBody;
    // Two looks in a row: the server may have begun to wait just now.
    if (isWaiting && wasWaiting && now - before < (slowestPace * period) / 1000) socket.destroy();
    before = now;
    wasWaiting = isWaiting;
  }, period);
  timer.unref();
  // A request that is refused at once may still be sent.
  const stop = (): void => {
    if (response.closed && (request.complete || request.destroyed)) clearInterval(timer);
  };
  response.once('close', stop);
  request.once('end', stop).once('close', stop);
}
