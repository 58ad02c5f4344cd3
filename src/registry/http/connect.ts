import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import type { buildConnector } from 'undici';
import type { TlsSettings } from '../config/tls.js';
import { certificateError, connectTimeoutError } from './faults.js';
import { openTunnel, type Proxy } from './proxy.js';

export interface ConnectSettings {
  /** Milliseconds within which a connection must be open. */
  readonly connectTimeout: number;
  /** Returns the TLS settings for `host[:port]`. */
  tlsOf(host: string): TlsSettings;
  /** Returns the proxy for an address; undefined to connect directly. */
  proxyOf(url: URL): Proxy | undefined;
}

function untilOpen(
  socket: Socket | TLSSocket,
  event: 'connect' | 'secureConnect',
  timeout: number,
  check: () => Error | undefined,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => void socket.destroy(connectTimeoutError()), timeout);
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
      const error = check();
      if (error !== undefined) {
        reject(error);
        socket.destroy();
        return;
      }
      socket.removeListener('error', failed);
      resolve(socket);
    });
  });
}

/** The last version of Node.js whose V8 is known to have the flags of `withBaselineCompiler`. */
const lastKnownNode = 24;
let isParserCompiled = false;

/**
 * Runs `work`, in which undici compiles its HTTP parser when the first connection is open. The parser is WebAssembly, which V8 compiles
 * again with its optimizing compiler a moment later: that takes 70 ms of a core and saves nothing, even in 10,000 requests.
 */
function withBaselineCompiler(work: () => void): void {
  const mayKnow = Number.parseInt(process.versions.node, 10) <= lastKnownNode;
  if (isParserCompiled || !mayKnow) return work();
  isParserCompiled = true;
  setFlagsFromString('--no-wasm-tier-up');
  setFlagsFromString('--no-wasm-dynamic-tiering');
  try {
    work();
  } finally {
    // Zstandard, too, is WebAssembly. V8 tiers it up with this flag alone.
    setFlagsFromString('--wasm-dynamic-tiering');
  }
}

/**
 * Creates a function that opens TCP and TLS connections for undici, with the host's name in `server_name` (RFC 6066 section 3) and
 * `http/1.1` as the protocol (RFC 7301). It verifies certificates itself: Node's errors do not name the certificate and its issuer.
 */
export function createConnector(settings: ConnectSettings, closing: AbortSignal): buildConnector.connector {
  // undici does not know the sockets that are still opening: they would keep the process alive.
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
    return untilOpen(tcp, 'connect', settings.connectTimeout, () => undefined);
  };
  const openTls = async (socket: Socket, name: string, host: string, tls: TlsSettings): Promise<Socket> => {
    const secure = connectTls({
      socket,
      host: name,
      servername: isIP(name) === 0 ? name : '',
      ALPNProtocols: ['http/1.1'],
      secureContext: tls.context,
      // The result of the verification is checked below, before anything is sent.
      rejectUnauthorized: false,
    });
    await untilOpen(secure, 'secureConnect', settings.connectTimeout, () =>
      secure.authorized || tls.insecure ? undefined : certificateError(secure, host),
    );
    // The server reports a rejected client certificate after the handshake; the close that follows would hide that error.
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
    // Reads the certificates before a connection is open that an error would have to close.
    const tls = settings.tlsOf(host);
    const proxy = settings.proxyOf(new URL(`https://${host}`));
    if (proxy === undefined) return openTls(await openTcp(name, port), name, host, tls);
    const target = options.port === '' ? `${host}:${port}` : host;
    const tunnel = await openTunnel(proxy, target, {
      connectTimeout: settings.connectTimeout,
      open: openProxy,
    });
    return openTls(tunnel, name, host, tls);
  };
  return (options, callback) => {
    open(options).then(
      (socket) => withBaselineCompiler(() => callback(null, socket)),
      (error: unknown) => callback(error as Error, null),
    );
  };
}
