import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { buildConnector } from 'undici';
import { certificateFault } from './faults.js';
import { openTunnel, type Proxy } from './proxy.js';
import type { TlsSettings } from '../config/tls.js';

export interface ConnectSettings {
  /** Milliseconds until a connection must stand. */
  readonly connectTimeout: number;
  /** How TLS is done with a host (with port). */
  tlsOf(host: string): TlsSettings;
  /** The proxy to an address, where there is one. */
  proxyOf(url: URL): Proxy | undefined;
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

/**
 * Opens TCP and TLS connections for undici, with the host's name in `server_name` (RFC 6066 section 3) and `http/1.1` as the protocol
 * (RFC 7301). Certificates are checked here, to be able to say what is wrong with which.
 */
export function connector(settings: ConnectSettings, closing: AbortSignal): buildConnector.connector {
  // undici does not know of sockets that are still being opened: they would keep the process alive.
  const sockets = new Set<Socket>();
  closing.addEventListener('abort', () => {
    for (const socket of sockets) socket.destroy();
  });
  const openTcp = async (name: string, port: number): Promise<Socket> => {
    const tcp = connectTcp({
      host: name,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    });
    sockets.add(tcp);
    tcp.once('close', () => sockets.delete(tcp));
    return opened(tcp, 'connect', settings.connectTimeout, () => undefined);
  };
  const openTls = async (socket: Socket, name: string, host: string, own: TlsSettings): Promise<Socket> => {
    const secure = connectTls({
      socket,
      host: name,
      servername: isIP(name) === 0 ? name : '',
      ALPNProtocols: ['http/1.1'],
      secureContext: own.context,
      // The outcome of the check is looked at below, before anything is sent.
      rejectUnauthorized: false,
    });
    await opened(secure, 'secureConnect', settings.connectTimeout, () =>
      secure.authorized || own.insecure ? undefined : certificateFault(secure, host),
    );
    // A refused client certificate is told after the handshake; the end that follows would hide it.
    secure.once('error', (error) => secure.destroy(error));
    return secure;
  };
  const openProxy = async ({ protocol, hostname, port, host }: URL): Promise<Socket> => {
    const name = hostname.replace(/^\[(.*)\]$/, '$1');
    const isSecure = protocol === 'https:';
    const socket = await openTcp(name, Number(port) || (isSecure ? 443 : 80));
    return isSecure ? openTls(socket, name, host, settings.tlsOf(host)) : socket;
  };
  const open = async (options: buildConnector.Options): Promise<Socket> => {
    const { hostname, protocol } = options;
    const name = hostname.replace(/^\[(.*)\]$/, '$1');
    const isSecure = protocol === 'https:';
    const port = Number(options.port) || (isSecure ? 443 : 80);
    const host = options.host ?? hostname;
    if (!isSecure) return openTcp(name, port);
    // Read before anything is opened that would have to be closed again.
    const own = settings.tlsOf(host);
    const proxy = settings.proxyOf(new URL(`https://${host}`));
    if (proxy === undefined) return openTls(await openTcp(name, port), name, host, own);
    const target = options.port === '' ? `${host}:${port}` : host;
    const tunnel = await openTunnel(proxy, target, {
      connectTimeout: settings.connectTimeout,
      open: openProxy,
    });
    return openTls(tunnel, name, host, own);
  };
  return (options, callback) => {
    open(options).then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(error as Error, null),
    );
  };
}
