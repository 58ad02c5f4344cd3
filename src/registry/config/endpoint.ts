import { AirliftError } from '../../errors.js';
import { dockerHubNames, formatRepository, isLoopback, type Repository } from '../../oci/reference.js';
import { matchRule, repositoryAt, splitLocation } from './mirror-rules.js';
import type { MirrorRule } from './options.js';
import type { TlsBook } from './tls.js';

/** Where a repository is really reached. */
export interface Endpoint {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Path of the distribution API there. */
  readonly apiPath: string;
  /** The repository's path there. */
  readonly repository: string;
  /** The registry as references name it. */
  readonly registry: string;
  /** The name under which credentials for it are kept: `host[:port]`, `docker.io` for Docker Hub. */
  readonly credentialsName: string;
  readonly isMirror: boolean;
  /** Another endpoint is asked when this one cannot be reached. */
  readonly hasAlternative?: boolean | undefined;
}

/** What is asked for: mirrors may serve only some, and lists are fuller at the registry itself. */
export type Wanted = 'digest' | 'tag' | 'list';

/** Docker Hub is named `docker.io` and served from here. */
const dockerHub = 'registry-1.docker.io';

/**
 * An address in the distribution API: `/v2/<repository>/<path>` (distribution-spec, "Endpoints"). Mirrors are told for whom they
 * stand, as containerd does (`ns`, distribution-spec, "Registry Proxying").
 */
export function addressOf(endpoint: Endpoint, path: string): URL {
  const url = new URL(`${endpoint.origin}${endpoint.apiPath}/${endpoint.repository}/${path}`);
  if (endpoint.isMirror) url.searchParams.set('ns', endpoint.registry);
  return url;
}

export interface EndpointSettings {
  readonly plainHttp: boolean | undefined;
  readonly rules: readonly MirrorRule[];
  readonly tls: TlsBook;
  /** Whether TLS is spoken at an origin; asked for insecure hosts only. */
  hasTls(origin: string, registry: string): Promise<boolean>;
}

interface Host {
  readonly host: string;
  readonly scheme?: 'http' | 'https' | undefined;
  readonly insecure?: boolean | undefined;
}

/** Knows where repositories are reached: at their mirrors and at the registry itself. */
export class EndpointBook {
  readonly #origins = new Map<string, Promise<string>>();

  constructor(readonly settings: EndpointSettings) {}

  /**
   * Where a repository may be read, in the order to try.
   * @throws AirliftError `denied` where a rule blocks it
   */
  async forReading(name: Repository, wanted: Wanted): Promise<Endpoint[]> {
    const matched = matchRule(this.settings.rules, name);
    if (matched === undefined) return [await this.#own(name, name.registry, name.repository, false)];
    const { rule, rest } = matched;
    this.#refuseBlocked(rule, name);
    const mirrors: Endpoint[] = [];
    for (const mirror of rule.mirrors) {
      const { serves = 'all' } = mirror;
      if (serves !== 'all' && serves !== `${wanted}s`) continue;
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
    const upstream = await this.#own(
      name,
      location?.host ?? name.registry,
      location === undefined ? name.repository : [location.path, rest].filter(Boolean).join('/'),
      rule.insecure === true,
    );
    return wanted === 'list' ? [upstream, ...mirrors] : [...mirrors, upstream];
  }

  /**
   * Where a repository is written: at the registry itself.
   * @throws AirliftError `denied` where a rule blocks it
   */
  async forWriting(name: Repository): Promise<Endpoint> {
    const rule = matchRule(this.settings.rules, name)?.rule;
    if (rule !== undefined) this.#refuseBlocked(rule, name);
    return this.#own(name, name.registry, name.repository, rule?.insecure === true);
  }

  #refuseBlocked(rule: MirrorRule, name: Repository): void {
    if (rule.blocked !== true) return;
    throw new AirliftError(
      'denied',
      `use ${formatRepository(name)}: ${rule.prefix} is blocked by ${rule.origin}`,
    );
  }

  async #own(name: Repository, host: string, repository: string, insecure: boolean): Promise<Endpoint> {
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
      // A failure is for those who wait now.
      origin.catch(() => this.#origins.delete(key));
    }
    return origin;
  }

  async #findOrigin({ host, scheme, insecure }: Host, registry: string): Promise<string> {
    const { plainHttp, tls } = this.settings;
    const real = dockerHubNames.includes(host) ? dockerHub : host;
    const secure = new URL(`https://${real}`).origin;
    const plain = new URL(`http://${real}`).origin;
    if (insecure === true) tls.takeAny(real);
    if (scheme !== undefined) return scheme === 'http' ? plain : secure;
    if (plainHttp !== undefined) return plainHttp ? plain : secure;
    if (insecure === true) return (await this.settings.hasTls(secure, registry)) ? secure : plain;
    return isLoopback(host) && !tls.mentions(host) ? plain : secure;
  }
}
