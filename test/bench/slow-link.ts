/** A TCP proxy that makes each connection as slow as one over a long distance: limited bandwidth, and a delay in both directions. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { LinkSchedule } from './link.js';

export interface SlowLinkOptions {
  /** `HOST:PORT` to connect to. */
  readonly upstream: string;
  /** Bandwidth of each connection in each direction. */
  readonly bytesPerSecond: number;
  /** Milliseconds that each byte takes in each direction. */
  readonly delay: number;
}

export interface SlowLink {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  stop(): Promise<void>;
}

/** Starts a slow link on a free port of 127.0.0.1. */
export async function startSlowLink(options: SlowLinkOptions): Promise<SlowLink> {
  const { upstream, bytesPerSecond, delay } = options;
  const [address = '', port = ''] = upstream.split(':');
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ host: address, port: Number(port), allowHalfOpen: true, noDelay: true });
    // The client can send as soon as its connection is open: after one round trip.
    const open = performance.now() + 2 * delay;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('close', () => sockets.delete(from));
      from.on('error', () => to.destroy());
      forward(from, to, new LinkSchedule(bytesPerSecond, delay, open), (bytesPerSecond * delay) / 1000);
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      const closed = new Promise((done) => server.close(done));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Most bytes on the way besides those that the delay requires: room for the timer's coarse steps. */
const room = 1 << 20;

/**
 * Forwards what one socket receives to another as the schedule says.
 * @param inFlight bytes that are on the way at full bandwidth
 */
function forward(from: Socket, to: Socket, schedule: LinkSchedule, inFlight: number): void {
  /** Chunks on the way, in order; undefined for the end of the stream. */
  const queue: { readonly chunk: Buffer | undefined; readonly due: number }[] = [];
  let queued = 0;
  let isWaiting = false;
  const deliver = (): void => {
    isWaiting = false;
    const now = performance.now();
    for (let head = queue[0]; head !== undefined && !to.destroyed; head = queue[0]) {
      if (head.due > now) return wait(head.due - now);
      queue.shift();
      if (head.chunk === undefined) return void to.end();
      queued -= head.chunk.length;
      if (queued < inFlight + room) from.resume();
      if (!to.write(head.chunk)) {
        isWaiting = true;
        return void to.once('drain', deliver);
      }
    }
  };
  const wait = (milliseconds: number): void => {
    isWaiting = true;
    setTimeout(deliver, milliseconds);
  };
  const send = (chunk: Buffer | undefined): void => {
    const now = performance.now();
    const due = schedule.send(chunk?.length ?? 0, now);
    queue.push({ chunk, due });
    if (!isWaiting) wait(due - now);
  };
  from.on('data', (chunk: Buffer) => {
    queued += chunk.length;
    if (queued >= inFlight + room) from.pause();
    send(chunk);
  });
  from.on('end', () => send(undefined));
}
