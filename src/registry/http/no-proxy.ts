import { BlockList, isIP } from 'node:net';
import { isLoopback } from '../config/endpoint.js';

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
