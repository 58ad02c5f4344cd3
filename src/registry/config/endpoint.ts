import { AirliftError } from '../../errors.js';
import { dockerHubNames, formatRepository, isLoopback, type Repository } from '../../oci/reference.js';
import { matchRule, repositoryAt, splitLocation } from './mirror-rules.js';
import type { MirrorRule } from './options.js';
import type { TlsConfig } from './tls.js';

/** The server that a repository is read from or written to. */
export interface Endpoint {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Path of the distribution API on that server. */
  readonly apiPath: string;
  /** Path of the repository on that server. */
  readonly repository: string;
  /** The registry as references name it. */
  readonly registry: string;
  /** Name under which credentials for the server are stored: `host[:port]`, `docker.io` for Docker Hub. */
  readonly credentialsName: string;
  readonly isMirror: boolean;
  /** Whether another endpoint is tried if this one cannot be reached. */
  readonly hasAlternative?: boolean | undefined;
}

/** Kind of a read. Mirrors may serve only some kinds, and the registry itself has the most complete lists. */
export type Lookup = 'digest' | 'tag' | 'list';

/** The host that serves the images of `docker.io`. */
const dockerHub = 'registry-1.docker.io';

/**
 * Returns an address in the distribution API: `/v2/<repository>/<path>` (distribution-spec, "Endpoints"). As in containerd, the query
 * parameter `ns` tells a mirror which registry is meant (distribution-spec, "Registry Proxying").
 */
export function addressOf(endpoint: Endpoint, path: string): URL {
  const url = new URL(`${endpoint.origin}${endpoint.apiPath}/${endpoint.repository}/${path}`);
  if (endpoint.isMirror) url.searchParams.set('ns', endpoint.registry);
  return url;
}

export interface EndpointSettings {
  readonly plainHttp: boolean | undefined;
  readonly rules: readonly MirrorRule[];
  readonly tls: TlsConfig;
  /** Tests whether an origin supports TLS; called only for hosts marked as insecure. */
  supportsTls(origin: string, registry: string): Promise<boolean>;
}

interface Host {
  readonly host: string;
  readonly scheme?: 'http' | 'https' | undefined;
  readonly insecure?: boolean | undefined;
}

/** Resolves repositories to their endpoints: the mirrors and the registry itself. */
export class EndpointResolver {
  readonly #origins = new Map<string, Promise<string>>();

  constructor(readonly settings: EndpointSettings) {}

  /**
   * Returns the endpoints to read a repository from, in the order to try them.
   * @throws AirliftError `denied` if a rule blocks the repository
   */
  async forReading(name: Repository, lookup: Lookup): Promise<Endpoint[]> {
    const matched = matchRule(this.settings.rules, name);
    if (matched === undefined)
      return [await this.#registryItself(name, name.registry, name.repository, false)];
    const { rule, rest } = matched;
    this.#refuseBlocked(rule, name);
    const mirrors: Endpoint[] = [];
    for (const mirror of rule.mirrors) {
      const { serves = 'all' } = mirror;
      if (serves !== 'all' && serves !== `${lookup}s`) continue;
      const { host, path } = splitLocation(mirror.location, rule.origin);
      mirrors.push({
        origin: await this.#originOf(
          { host, scheme: mirror.scheme, insecure: mirror.insecure },
          name.registry,
        ),
        apiPath: mirror.apiPath ?? '/v2',
        repository: repositoryAt(mirror, path, rest, name),
        registry: name.registry,
        credentialsName: host,
        isMirror: true,
      });
    }
    const location = rule.location === undefined ? undefined : splitLocation(rule.location, rule.origin);
    const upstream = await this.#registryItself(
      name,
      location?.host ?? name.registry,
      location === undefined ? name.repository : [location.path, rest].filter(Boolean).join('/'),
      rule.insecure === true,
    );
    return lookup === 'list' ? [upstream, ...mirrors] : [...mirrors, upstream];
  }

  /**
   * Returns the endpoint to write a repository to: the registry itself.
   * @throws AirliftError `denied` if a rule blocks the repository
   */
  async forWriting(name: Repository): Promise<Endpoint> {
    const rule = matchRule(this.settings.rules, name)?.rule;
    if (rule !== undefined) this.#refuseBlocked(rule, name);
    return this.#registryItself(name, name.registry, name.repository, rule?.insecure === true);
  }

  #refuseBlocked(rule: MirrorRule, name: Repository): void {
    if (rule.blocked !== true) return;
    throw new AirliftError(
      'denied',
      `access ${formatRepository(name)}: ${rule.prefix} is blocked by ${rule.origin}`,
    );
  }

  async #registryItself(
    name: Repository,
    host: string,
    repository: string,
    insecure: boolean,
  ): Promise<Endpoint> {
    return {
      origin: await this.#originOf({ host, insecure }, name.registry),
      apiPath: '/v2',
      repository,
      registry: name.registry,
      credentialsName: host,
      isMirror: false,
    };
  }

  #originOf(host: Host, registry: string): Promise<string> {
    const key = JSON.stringify([host.host, host.scheme, host.insecure]);
    let origin = this.#origins.get(key);
    if (origin === undefined) {
      origin = this.#findOrigin(host, registry);
      this.#origins.set(key, origin);
      // A failure is not cached: the next call tests the host again.
      origin.catch(() => this.#origins.delete(key));
    }
    return origin;
  }

  async #findOrigin({ host, scheme, insecure }: Host, registry: string): Promise<string> {
    const { plainHttp, tls } = this.settings;
    const server = dockerHubNames.includes(host) ? dockerHub : host;
    const secure = new URL(`https://${server}`).origin;
    const plain = new URL(`http://${server}`).origin;
    if (insecure === true) tls.skipVerification(server);
    if (scheme !== undefined) return scheme === 'http' ? plain : secure;
    if (plainHttp !== undefined) return plainHttp ? plain : secure;
    if (insecure === true) return (await this.settings.supportsTls(secure, registry)) ? secure : plain;
    return isLoopback(host) && !tls.isConfigured(host) ? plain : secure;
  }
}
