import { request as httpRequest } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { AirliftError, messageOf } from '../../errors.js';
import type { ProxyOptions } from '../config/options.js';
import { isLoopback } from '../../oci/reference.js';
import { basicAuthorization } from './headers.js';

/** A forward proxy. */
export interface Proxy {
  readonly url: URL;
  /** `host:port`, for messages. */
  readonly name: string;
  readonly authorization: string | undefined;
  readonly password: string;
}

/** Percent-decoded, where it is percent-encoded: people type passwords as they are, a stray % among them. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text.replace(/%[0-9a-f]{2}/gi, (code) => Buffer.from(code.slice(1), 'hex').toString('latin1'));
  }
}

function parseProxy(text: string, what: string): Proxy {
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(address)) throw new AirliftError('usage', `parse ${what} proxy: not an address`);
  const url = new URL(address);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new AirliftError('usage', `parse ${what} proxy: ${url.protocol} proxies are not supported`, {
      hint: 'use an HTTP proxy: http://host:port',
    });
  const username = decoded(url.username);
  const password = decoded(url.password);
  url.username = '';
  url.password = '';
  return {
    url,
    name: url.host,
    authorization: username === '' ? undefined : basicAuthorization(username, password),
    password,
  };
}

function matchesAddress(pattern: string, host: string): boolean {
  const version = isIP(host);
  if (version === 0) return false;
  const [network = '', bits] = pattern.split('/');
  const own = isIP(network);
  if (own !== version) return false;
  if (bits === undefined) return network === host;
  const prefix = Number(bits);
  if (!/^\d{1,3}$/.test(bits) || prefix > (own === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(network, prefix, own === 4 ? 'ipv4' : 'ipv6');
  return list.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

/**
 * Whether a host is reached without proxy, by the rules of curl, Go and docker for `NO_PROXY`: `*`, names (with their
 * subdomains; with a leading dot the subdomains alone), addresses, networks (`10.0.0.0/8`), each with an optional port.
 * Loopback hosts are never reached by proxy.
 */
export function isDirect(url: URL, noProxy: string): boolean {
  if (isLoopback(url.host)) return true;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  for (const entry of noProxy.toLowerCase().split(/[\s,]+/)) {
    if (entry === '') continue;
    if (entry === '*') return true;
    const match = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(entry);
    const pattern = (match?.[1] ?? entry).replace(/^\[(.*)\]$/, '$1').replace(/^\*\./, '.');
    if (match?.[2] !== undefined && match[2] !== port) continue;
    if (matchesAddress(pattern, host)) return true;
    if (pattern.startsWith('.') ? host.endsWith(pattern) : host === pattern || host.endsWith(`.${pattern}`))
      return true;
  }
  return false;
}

/**
 * Makes a finder of the proxy for an address.
 * @param onSecret is told each proxy's password
 * @throws AirliftError `usage` where a proxy's address is invalid
 */
export function proxyFinder(
  options: ProxyOptions | undefined,
  onSecret: (secret: string) => void,
): (url: URL) => Proxy | undefined {
  const known = (text: string | undefined, what: string): Proxy | undefined => {
    if (text === undefined || text === '') return undefined;
    const proxy = parseProxy(text, what);
    if (proxy.authorization !== undefined) onSecret(proxy.authorization.slice('Basic '.length));
    if (proxy.password !== '') onSecret(proxy.password);
    return proxy;
  };
  const http = known(options?.http, 'HTTP');
  const https = known(options?.https, 'HTTPS');
  return (url) => {
    const proxy = url.protocol === 'https:' ? https : http;
    const isProxy = url.host === http?.name || url.host === https?.name;
    return proxy === undefined || isProxy || isDirect(url, options?.no ?? '') ? undefined : proxy;
  };
}

/**
 * Opens a tunnel through a proxy (`CONNECT`, RFC 9110 section 9.3.6; `Proxy-Authorization`, section 11.7.2).
 * @param settings.open opens a connection to the proxy itself, over TLS where its address says so
 * @throws AirliftError `unauthorized` where the proxy wants a password, `network` where it refuses or can't be reached, `tls` for
 *   its certificate
 */
export async function openTunnel(
  proxy: Proxy,
  target: string,
  settings: { readonly connectTimeout: number; open(url: URL): Promise<Socket> },
): Promise<Socket> {
  let socket: Socket;
  try {
    socket = await settings.open(proxy.url);
  } catch (error) {
    throw error instanceof AirliftError ? error : proxyFault(proxy, error);
  }
  return connectBy(proxy, target, socket, settings.connectTimeout);
}

function connectBy(proxy: Proxy, target: string, connection: Socket, timeout: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      createConnection: () => connection,
      method: 'CONNECT',
      path: target,
      headers: {
        host: target,
        ...(proxy.authorization === undefined ? {} : { 'proxy-authorization': proxy.authorization }),
      },
      timeout,
    });
    request.once('connect', (response, socket, head) => {
      request.setTimeout(0);
      socket.setTimeout(0);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300 && head.byteLength === 0) return resolve(socket);
      socket.destroy();
      reject(tunnelRefusal(proxy, status));
    });
    request.once('response', (response) => {
      response.resume();
      request.destroy();
      reject(tunnelRefusal(proxy, response.statusCode ?? 0));
    });
    request.once('timeout', () => {
      request.destroy(Object.assign(new Error('connect timeout'), { code: 'UND_ERR_CONNECT_TIMEOUT' }));
    });
    request.once('error', (error) => reject(proxyFault(proxy, error)));
    request.end();
  });
}

function tunnelRefusal(proxy: Proxy, status: number): AirliftError {
  if (status === 407) return passwordWanted(proxy);
  return new AirliftError('network', `proxy ${proxy.name} refuses to connect (${status})`, {
    hint: 'hosts to be reached without it go into NO_PROXY',
  });
}

/** The error for a proxy that wants a password, or another one (407, RFC 9110 section 15.5.8). */
export function passwordWanted(proxy: Proxy): AirliftError {
  return new AirliftError('unauthorized', `proxy ${proxy.name} wants a password (407)`, {
    status: 407,
    hint: "put it into the proxy's address: http://user:password@host:port",
  });
}

function proxyFault(proxy: Proxy, cause: unknown): AirliftError {
  return new AirliftError('network', `proxy ${proxy.name} can't be reached: ${messageOf(cause)}`, { cause });
}
