import type { Socket } from 'node:net';
import type { ServerLimits } from './call.js';

interface IdleConnection {
  readonly client: string;
  readonly since: number;
}

/**
 * Closes idle connections, so that clients that connect and send nothing cannot use up the process's file descriptors. A connection
 * is idle while no request of it is being answered, also before its first one.
 */
export class IdleConnections {
  /** The longest idle connection first. */
  readonly #idle = new Map<Socket, IdleConnection>();
  /** The idle connections of each address, the longest idle one first. */
  readonly #ofClient = new Map<string, Set<Socket>>();
  readonly #timer: NodeJS.Timeout;

  constructor(private readonly limits: Pick<ServerLimits, 'idle' | 'idleOfClient' | 'idleTimeout'>) {
    this.#timer = setInterval(() => this.#closeExpired(), limits.idleTimeout / 16).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Counts a connection as idle, and closes the longest idle one where that makes too many. */
  add(socket: Socket): void {
    if (socket.destroyed || this.#idle.has(socket)) return;
    const client = socket.remoteAddress ?? '';
    const ofClient = this.#ofClient.get(client) ?? new Set();
    this.#ofClient.set(client, ofClient.add(socket));
    this.#idle.set(socket, { client, since: performance.now() });
    if (ofClient.size > this.limits.idleOfClient) this.#closeFirst(ofClient);
    if (this.#idle.size > this.limits.idle) this.#closeFirst(this.#idle.keys());
  }

  /** Stops counting a connection as idle: it has a request to answer, or is closed. */
  remove(socket: Socket): void {
    const connection = this.#idle.get(socket);
    if (connection === undefined) return;
    this.#idle.delete(socket);
    const ofClient = this.#ofClient.get(connection.client);
    ofClient?.delete(socket);
    if (ofClient?.size === 0) this.#ofClient.delete(connection.client);
  }

  #closeFirst(sockets: Iterable<Socket>): void {
    const [first] = sockets;
    if (first !== undefined) this.#close(first);
  }

  #close(socket: Socket): void {
    this.remove(socket);
    socket.destroy();
  }

  #closeExpired(): void {
    const latest = performance.now() - this.limits.idleTimeout;
    for (const [socket, { since }] of this.#idle) {
      if (since > latest) return;
      this.#close(socket);
    }
  }
}
