import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { buildConnector } from 'undici';
import { certificateFault, type TlsSettings } from './tls.js';

export interface ConnectSettings {
  /** Milliseconds until a connection must stand. */
  readonly connectTimeout: number;
  /** How TLS is done with a host (with port). */
  tlsOf(host: string): TlsSettings;
}

function opened(
  socket: Socket | TLSSocket,
  event: 'connect' | 'secureConnect',
  timeout: number,
  check: () => Error | undefined,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy(Object.assign(new Error('connect timeout'), { code: 'UND_ERR_CONNECT_TIMEOUT' }));
    }, timeout);
    const failed = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    socket.once('error', failed);
    socket.once('close', () =>
      failed(Object.assign(new Error('closed while connecting'), { code: 'ECONNRESET' })),
    );
    socket.once(event, () => {
      clearTimeout(timer);
      const fault = check();
      if (fault !== undefined) {
        reject(fault);
        socket.destroy();
        return;
      }
      socket.removeListener('error', failed);
      resolve(socket);
    });
  });
}

/** Opens TCP and TLS connections for undici. Certificates are checked here, to be able to say what is wrong with which. */
export function connector(settings: ConnectSettings): buildConnector.connector {
  const open = async (options: buildConnector.Options): Promise<Socket> => {
    const { hostname, protocol } = options;
    const name = hostname.replace(/^\[(.*)\]$/, '$1');
    const secure = protocol === 'https:';
    const port = Number(options.port) || (secure ? 443 : 80);
    const tcp = connectTcp({
      host: name,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    });
    await opened(tcp, 'connect', settings.connectTimeout, () => undefined);
    if (!secure) return tcp;
    const host = options.port === '' ? hostname : `${hostname}:${options.port}`;
    const own = settings.tlsOf(host);
    const socket = connectTls({
      socket: tcp,
      host: name,
      servername: isIP(name) === 0 ? name : '',
      ALPNProtocols: ['http/1.1'],
      secureContext: own.context,
      // The outcome of the check is looked at below, before anything is sent.
      rejectUnauthorized: false,
    });
    await opened(socket, 'secureConnect', settings.connectTimeout, () =>
      socket.authorized || own.insecure ? undefined : certificateFault(socket, host),
    );
    return socket;
  };
  return (options, callback) => {
    open(options).then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(error as Error, null),
    );
  };
}
