import type { Repository } from '../oci/reference.js';

/** Where a repository is really reached. */
export interface Endpoint {
  /** Scheme, host and port. */
  readonly origin: string;
  /** The repository's path there. */
  readonly repository: string;
  /** The registry as references name it. */
  readonly registry: string;
  /** The name under which credentials for it are kept: `host[:port]`, `docker.io` for Docker Hub. */
  readonly credentialsName: string;
  readonly isMirror: boolean;
}

/** Docker Hub is named `docker.io` and served from here. */
const dockerHub = 'registry-1.docker.io';

/** Whether a registry's host is this machine. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:\d+$/, '').toLowerCase();
  return host === 'localhost' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** Whether a registry is spoken to in plain HTTP, by the rule of `RegistryOptions.plainHttp`. */
export function isPlain(registry: string, plainHttp: boolean | undefined): boolean {
  return plainHttp ?? isLoopback(registry);
}

/** The registry's own endpoint, without mirrors. */
export function upstream(name: Repository, plainHttp: boolean | undefined): Endpoint {
  const host = name.registry === 'docker.io' ? dockerHub : name.registry;
  return {
    origin: new URL(`${isPlain(name.registry, plainHttp) ? 'http' : 'https'}://${host}`).origin,
    repository: name.repository,
    registry: name.registry,
    credentialsName: name.registry,
    isMirror: false,
  };
}

/** An address in the distribution API: `/v2/<repository>/<path>`. */
export function addressOf(endpoint: Endpoint, path: string): URL {
  return new URL(`${endpoint.origin}/v2/${endpoint.repository}/${path}`);
}
