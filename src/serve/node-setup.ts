import { networkInterfaces } from 'node:os';
import { isAirliftError } from '../errors.js';
import { dockerHubNames, isLoopback } from '../oci/reference.js';
import { quote, siteUrl, type NodeAccess } from '../site/access.js';
import { mapNames, registryAsPath, type NamedImage, type Site, type SiteName } from '../site/names.js';
import type { Serving } from './serve.js';

/**
 * Returns the host by which nodes reach a registry that listens on `host`: the host itself; for all addresses, the first name of the
 * certificate, else the first address of this machine that others reach.
 */
export function reachableHost({
  host,
  certificateNames,
}: Pick<Serving, 'host' | 'certificateNames'>): string {
  if (host !== '0.0.0.0' && host !== '::') return host;
  const named = certificateNames.find((name) => !isLoopback(name));
  if (named !== undefined) return named;
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const outside = addresses.filter(({ internal, address }) => !internal && !address.startsWith('fe80:'));
  const found = outside.find(({ family }) => family === 'IPv4') ?? outside[0];
  return found?.address ?? '127.0.0.1';
}

/**
 * Returns the names of served images for the files of nodes. Short names, as an import gives them; if one would mean two images, names
 * with the source registry in front.
 * @param registry host and port by which nodes reach the registry
 */
export function servedNames(
  images: readonly NamedImage[],
  registry: string,
): { readonly site: Site; readonly names: readonly SiteName[] } {
  const site: Site = { registry };
  try {
    return { site, names: mapNames(site, images) };
  } catch (error) {
    if (!isAirliftError(error, 'conflict')) throw error;
    const apart = { ...site, keepRegistry: true };
    return { site: apart, names: mapNames(apart, images) };
  }
}

/** A setting with which the nodes of an engine find served images by the names of their source registries. */
export interface NodeSetting {
  readonly engine: string;
  /** Path on the node. */
  readonly file: string;
  /** The whole content of the file, on one line. */
  readonly text: string;
}

/**
 * Returns the shortest settings for k3s, containerd, docker and podman.
 * @param registry host and port by which nodes reach the registry
 */
export function nodeSettings(
  images: readonly NamedImage[],
  registry: string,
  access: NodeAccess,
): NodeSetting[] {
  const sources = [...new Set(images.map(({ source }) => source.registry))].sort();
  if (sources.length === 0) return [];
  const url = siteUrl(registry, access);
  const insecure = access.plainHttp === true;
  const endpoints = sources.map((source) => `${quote(source)}: {endpoint: [${quote(url)}]}`);
  // podman does not name the source registry in its requests, so its path does.
  const tables = sources.map((source) => {
    const location = quote(`${registry}/${registryAsPath(source)}`);
    return `{prefix = ${quote(source)}, location = ${location}${insecure ? ', insecure = true' : ''}}`;
  });
  const daemon = {
    ...(insecure ? { 'insecure-registries': [registry] } : {}),
    ...(sources.some((source) => dockerHubNames.includes(source)) ? { 'registry-mirrors': [url] } : {}),
  };
  const settings: NodeSetting[] = [
    {
      engine: 'k3s, RKE2',
      file: '/etc/rancher/k3s/registries.yaml',
      text: `mirrors: {${endpoints.join(', ')}}`,
    },
    ...sources.map((source) => ({
      engine: 'containerd',
      file: `/etc/containerd/certs.d/${source}/hosts.toml`,
      text: `[host.${quote(url)}]`,
    })),
    { engine: 'docker', file: '/etc/docker/daemon.json', text: JSON.stringify(daemon) },
    {
      engine: 'podman, CRI-O',
      file: '/etc/containers/registries.conf.d/50-airlift.conf',
      text: `registry = [${tables.join(', ')}]`,
    },
  ];
  return settings.filter(({ text }) => text !== '{}');
}
