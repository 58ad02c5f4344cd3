// undici's ProxyAgent is not used: it has one TLS configuration for all hosts, no networks in NO_PROXY, and errors that do not name the proxy.
import { request as httpRequest } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { AirliftError, messageOf } from '../../errors.js';
import { isLoopback } from '../../oci/reference.js';
import type { ProxyOptions } from '../config/options.js';
import { connectTimeoutError } from './faults.js';
import { basicAuthorization } from './headers.js';

/** A forward proxy. */
export interface Proxy {
  readonly url: URL;
  /** `host:port`, for messages. */
  readonly name: string;
  readonly authorization: string | undefined;
  readonly password: string;
}

/** Decodes percent-encoded text. Passwords are often typed unencoded, with a stray % in them. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text.replace(/%[0-9a-f]{2}/gi, (code) => Buffer.from(code.slice(1), 'hex').toString('latin1'));
  }
}

function parseProxy(text: string, scheme: string): Proxy {
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(address)) throw new AirliftError('usage', `parse ${scheme} proxy: not a URL`);
  const url = new URL(address);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new AirliftError('usage', `parse ${scheme} proxy: ${url.protocol} proxies are not supported`, {
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
  const networkVersion = isIP(network);
  if (networkVersion !== version) return false;
  if (bits === undefined) return network === host;
  const prefix = Number(bits);
  if (!/^\d{1,3}$/.test(bits) || prefix > (version === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(network, prefix, version === 4 ? 'ipv4' : 'ipv6');
  return list.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

/**
 * Whether a host is reached without a proxy, by the `NO_PROXY` rules of curl, Go and docker: `*`, names (including their subdomains;
 * with a leading dot only the subdomains), addresses and networks (`10.0.0.0/8`), each with an optional port. Loopback hosts are never
 * reached through a proxy.
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
 * Returns a function that finds the proxy for an address.
 * @param onSecret called with each proxy's password
 * @throws AirliftError `usage` if a proxy's address is invalid
 */
export function proxyFinder(
  options: ProxyOptions | undefined,
  onSecret: (secret: string) => void,
): (url: URL) => Proxy | undefined {
  const parse = (text: string | undefined, scheme: string): Proxy | undefined => {
    if (text === undefined || text === '') return undefined;
    const proxy = parseProxy(text, scheme);
    if (proxy.authorization !== undefined) onSecret(proxy.authorization.slice('Basic '.length));
    if (proxy.password !== '') onSecret(proxy.password);
    return proxy;
  };
  const http = parse(options?.http, 'HTTP');
  const https = parse(options?.https, 'HTTPS');
  return (url) => {
    const proxy = url.protocol === 'https:' ? https : http;
    const isProxy = url.host === http?.name || url.host === https?.name;
    return proxy === undefined || isProxy || isDirect(url, options?.no ?? '') ? undefined : proxy;
  };
}

/**
 * Opens a tunnel through a proxy (`CONNECT`, RFC 9110 section 9.3.6; `Proxy-Authorization`, section 11.7.2).
 * @param settings.open opens a connection to the proxy itself, over TLS if its address says so
 * @throws AirliftError `unauthorized` if the proxy requires a password, `network` if it refuses or cannot be reached, `tls` if its
 *   certificate is invalid
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
    throw error instanceof AirliftError ? error : proxyError(proxy, error);
  }
  return requestTunnel(proxy, target, socket, settings.connectTimeout);
}

function requestTunnel(proxy: Proxy, target: string, connection: Socket, timeout: number): Promise<Socket> {
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
      reject(tunnelError(proxy, status));
    });
    request.once('response', (response) => {
      response.resume();
      request.destroy();
      reject(tunnelError(proxy, response.statusCode ?? 0));
    });
    request.once('timeout', () => void request.destroy(connectTimeoutError()));
    request.once('error', (error) => reject(proxyError(proxy, error)));
    request.end();
  });
}

function tunnelError(proxy: Proxy, status: number): AirliftError {
  if (status === 407) return proxyPasswordError(proxy);
  return new AirliftError('network', `proxy ${proxy.name} refused the connection (${status})`, {
    hint: 'to reach a host without the proxy, add it to NO_PROXY',
  });
}

/** Makes the error for a proxy that requires a password or rejects the given one (407, RFC 9110 section 15.5.8). */
export function proxyPasswordError(proxy: Proxy): AirliftError {
  return new AirliftError('unauthorized', `proxy ${proxy.name} requires a valid password (407)`, {
    status: 407,
    hint: "put the password into the proxy's address: http://user:password@host:port",
  });
}

function proxyError(proxy: Proxy, cause: unknown): AirliftError {
  return new AirliftError('network', `proxy ${proxy.name} cannot be reached: ${messageOf(cause)}`, { cause });
}
