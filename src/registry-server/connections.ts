import type { Socket } from 'node:net';
import type { ServerLimits } from './call.js';
import { IdleConnections } from './idle-connections.js';

/**
 * The open connections of a server. Over TLS, a request knows only its encrypted socket, while the limits also cover connections that have
 * not finished the handshake; both sockets have the same remote address and port.
 */
export class Connections {
  readonly #open = new Set<Socket>();
  readonly #byName = new Map<string, Socket>();
  readonly #idle: IdleConnections;

  constructor(limits: Pick<ServerLimits, 'idle' | 'idleOfClient' | 'idleTimeout'>) {
    this.#idle = new IdleConnections(limits);
  }

  get count(): number {
    return this.#open.size;
  }

  /** Adds a connection that a client has opened. */
  add(socket: Socket): void {
    const name = nameOf(socket);
    this.#open.add(socket);
    this.#byName.set(name, socket);
    this.#idle.add(socket);
    socket.once('close', () => {
      this.#idle.remove(socket);
      this.#open.delete(socket);
      if (this.#byName.get(name) === socket) this.#byName.delete(name);
    });
  }

  /** Records that a request arrived on a connection. */
  begin(socket: Socket): void {
    this.#idle.remove(this.#connectionOf(socket));
  }

  /** Records that no request of a connection is being answered. */
  end(socket: Socket): void {
    this.#idle.add(this.#connectionOf(socket));
  }

  /** Stops watching, and closes all connections, also those without a finished handshake. */
  close(): void {
    this.#idle.stop();
    for (const socket of this.#open) socket.destroy();
  }

  #connectionOf(socket: Socket): Socket {
    return this.#open.has(socket) ? socket : (this.#byName.get(nameOf(socket)) ?? socket);
  }
}

function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
