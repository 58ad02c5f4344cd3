import { AirliftError } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { quoted } from '../../oci/quoted.js';
import { splitLocation } from './mirror-rules.js';
import type { HostSettings, Mirror, MirrorRule } from './options.js';

/** The settings of a k3s or RKE2 `registries.yaml`, as RegistryOptions. */
export interface K3sRegistries {
  readonly mirrors: readonly MirrorRule[];
  readonly hosts: Readonly<Record<string, HostSettings>>;
}

function fail(origin: string, happened: string): never {
  throw new AirliftError('input', `parse ${origin}: ${happened}`);
}

function tables(value: unknown, name: string, origin: string): [string, Record<string, unknown>][] {
  if (value === undefined || value === null) return [];
  if (!isObject(value)) fail(origin, `${name} is not a map`);
  return Object.entries(value).map(([key, entry]) => {
    if (entry === null) return [key, {}];
    return isObject(entry) ? [key, entry] : fail(origin, `${name}.${key} is not a map`);
  });
}

function text(table: unknown, name: string, origin: string): string | undefined {
  const value = isObject(table) ? table[name] : undefined;
  if (value === undefined || value === null || value === '') return undefined;
  return typeof value === 'string' ? value : fail(origin, `${name} is not a string`);
}

function mirrorOf(endpoint: unknown, rewrites: Mirror['rewrites'], origin: string): Mirror {
  if (typeof endpoint !== 'string') return fail(origin, 'endpoint is not a string');
  const address = endpoint.includes('://') ? endpoint : `https://${endpoint}`;
  if (!URL.canParse(address)) return fail(origin, `endpoint ${quoted(endpoint)} is not a URL`);
  const url = new URL(address);
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    fail(origin, `endpoint has the scheme ${url.protocol}, want http: or https:`);
  const path = url.pathname.replace(/\/+$/, '');
  splitLocation(url.host, origin);
  return {
    location: url.host,
    scheme: url.protocol === 'http:' ? 'http' : 'https',
    apiPath: path === '' ? '/v2' : path,
    rewrites,
  };
}

function rewritesOf(value: unknown, origin: string): Mirror['rewrites'] {
  return Object.entries(isObject(value) ? value : {}).map(([from, to]) => {
    if (typeof to !== 'string') return fail(origin, `rewrite ${JSON.stringify(from)} is not a string`);
    try {
      new RegExp(from);
    } catch {
      return fail(origin, `rewrite ${JSON.stringify(from)} is not a regular expression`);
    }
    return { from, to };
  });
}

function hostOf(config: Record<string, unknown>, registry: string, origin: string): HostSettings {
  const { auth, tls } = config;
  let username = text(auth, 'username', origin);
  let password = text(auth, 'password', origin);
  const encoded = text(auth, 'auth', origin);
  if (username === undefined && encoded !== undefined) {
    const decoded = Buffer.from(encoded, 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon < 1) fail(origin, `auth of ${registry} is not base64 of user:password`);
    username = decoded.slice(0, colon);
    password = decoded.slice(colon + 1);
  }
  return {
    caFile: text(tls, 'ca_file', origin),
    certFile: text(tls, 'cert_file', origin),
    keyFile: text(tls, 'key_file', origin),
    insecureSkipTlsVerify: isObject(tls) && /^true$/i.test(String(tls['insecure_skip_verify'])),
    credentials: username === undefined ? undefined : { username, password: password ?? '', registry },
    identityToken: text(auth, 'identity_token', origin),
  };
}

/**
 * Reads the settings of a k3s or RKE2 `registries.yaml` (k3s documentation, "Private Registry Configuration").
 * @param data the parsed YAML; numbers and booleans may be given as text
 * @param origin name of the file, for messages
 * @throws AirliftError `input` if the file is malformed
 */
export function parseK3sRegistries(data: unknown, origin: string): K3sRegistries {
  if (data === null || data === undefined) return { mirrors: [], hosts: {} };
  if (!isObject(data)) return fail(origin, 'not a map');
  const mirrors = tables(data['mirrors'], 'mirrors', origin).map(([prefix, table]): MirrorRule => {
    if (prefix !== '*') splitLocation(prefix.replace(/^\*\./, ''), origin);
    const endpoints = table['endpoint'] ?? [];
    if (!Array.isArray(endpoints)) return fail(origin, `endpoint of ${prefix} is not a list`);
    const rewrites = rewritesOf(table['rewrite'], origin);
    return { prefix, mirrors: endpoints.map((endpoint) => mirrorOf(endpoint, rewrites, origin)), origin };
  });
  const hosts = Object.fromEntries(
    tables(data['configs'], 'configs', origin).map(([host, table]) => [host, hostOf(table, host, origin)]),
  );
  return { mirrors, hosts };
}
