import { isAirliftError } from '../errors.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import { joinPath, mirrorsOf, repositoriesByRegistry, type Mirror } from './mirrors.js';
import { registryAsPath, siteRepository, type Site, type SiteName } from './names.js';

/** What a node does with the names below a scope of one registry: asks the site below `path`, or fails. */
export interface Route {
  /** A repository, or everything below a path; '' for the whole registry. */
  readonly scope: string;
  /** Whether it holds for the repository `scope` alone. Formats that match by prefix cannot say so. */
  readonly exact: boolean;
  /** The path at the site; undefined where names fail. */
  readonly path: string | undefined;
}

/** How a consumer of node files chooses among routes. */
export type Matching =
  /** One path for the whole registry: `hosts.toml`. */
  | 'registry'
  /** The longest prefix, whole path components: `registries.conf`, OpenShift's mirror sets. */
  | 'prefix'
  /** Patterns of which no two fit the same name: `registries.yaml`. */
  | 'pattern';

/** The routes of one source registry, and whether they lead every name of the mapping to its place. */
export interface RegistryRoutes {
  readonly registry: string;
  readonly routes: readonly Route[];
  /** Repositories of the mapping that fail, since the format cannot express them. */
  readonly failing: readonly string[];
}

const maxRepairs = 20;

const failAll: Route = { scope: '', exact: false, path: undefined };

/** A path that no image is published to, for names that must fail: the site answers that it has no such repository. */
export function unmappedPath(registry: string, scope = ''): string {
  return joinPath(joinPath('airlift-not-mapped', registryAsPath(registry)), scope);
}

function isBelow(path: string, scope: string): boolean {
  return scope === '' || path.startsWith(`${scope}/`);
}

/** Where a consumer finds a repository at the site; undefined where it fails. */
export function resolveRoute(
  routes: readonly Route[],
  repository: string,
  matching: Matching,
): string | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    const isExact = route.exact && matching !== 'prefix';
    if (repository !== route.scope && (isExact || !isBelow(repository, route.scope))) continue;
    if (repository === route.scope && !route.exact && matching === 'pattern' && route.path !== undefined)
      continue; // a pattern for what is below a path does not fit the path itself
    if (best === undefined || route.scope.length > best.scope.length || (route.exact && !best.exact))
      best = route;
  }
  if (best?.path === undefined) return undefined;
  return joinPath(best.path, repository.slice(best.scope === '' ? 0 : best.scope.length + 1));
}

/** The whole mapping: the site's name of each repository, also of repositories without an image. */
class Mapping {
  readonly #targets = new Map<string, string>();
  /** All paths that hold images at the site. */
  readonly paths: readonly string[];

  constructor(
    readonly site: Site,
    names: readonly SiteName[],
  ) {
    for (const { source, site: target } of names)
      this.#targets.set(formatRepository(source), target.repository);
    this.paths = [...new Set(this.#targets.values())];
  }

  /** The path of a repository that has images. */
  own(source: Repository): string | undefined {
    return this.#targets.get(formatRepository(source));
  }

  path(source: Repository): string | undefined {
    const own = this.own(source);
    if (own !== undefined) return own;
    try {
      return siteRepository(this.site, source).repository;
    } catch (error) {
      if (isAirliftError(error, 'usage')) return undefined;
      throw error;
    }
  }
}

/** Names that reach an image which is not theirs, or that have an image and do not reach it. */
function wrongNames(
  mapping: Mapping,
  registry: string,
  sources: readonly string[],
  routes: readonly Route[],
  matching: Matching,
): { wrong: string[]; failing: string[] } {
  const asked = new Set(sources);
  // Every name that some route leads to an image of the site.
  for (const { scope, path } of routes) {
    if (path === undefined) continue;
    for (const target of mapping.paths) {
      if (target === path && scope !== '') asked.add(scope);
      else if (isBelow(target, path))
        asked.add(joinPath(scope, target.slice(path === '' ? 0 : path.length + 1)));
    }
  }
  const wrong: string[] = [];
  const failing: string[] = [];
  for (const repository of asked) {
    const found = resolveRoute(routes, repository, matching);
    const source = { registry, repository };
    if (found === undefined) {
      if (mapping.own(source) !== undefined) failing.push(repository);
    } else if (found !== mapping.path(source)) wrong.push(repository);
  }
  return { wrong, failing };
}

/** One route for each repository that has images; everything else fails. */
function separateRoutes(repositories: readonly (readonly [string, string])[]): Route[] {
  return [...repositories.map(([scope, path]) => ({ scope, exact: true, path })), failAll];
}

/** Routes by prefix: a route for a repository holds for what is below it too, which gets routes of its own where that is wrong. */
function repairPrefixes(
  mapping: Mapping,
  registry: string,
  sources: readonly string[],
  first: readonly Route[],
): Route[] {
  const byScope = new Map<string, Route>();
  for (const route of first) {
    const other = byScope.get(route.scope);
    if (other === undefined || (route.exact && !other.exact)) byScope.set(route.scope, route);
  }
  for (let round = 0; round < maxRepairs; round++) {
    const { wrong, failing } = wrongNames(mapping, registry, sources, [...byScope.values()], 'prefix');
    if (wrong.length + failing.length === 0) break;
    for (const scope of [...wrong, ...failing])
      byScope.set(scope, { scope, exact: true, path: mapping.own({ registry, repository: scope }) });
  }
  return [...byScope.values()].sort((left, right) => (left.scope < right.scope ? -1 : 1));
}

/** The first candidate that leads no name astray; the last one fails everything, and so never does. */
function candidatesOf(
  mapping: Mapping,
  registry: string,
  repositories: readonly (readonly [string, string])[],
  mirrors: readonly Mirror[],
  matching: Matching,
): Route[][] {
  const sources = repositories.map(([source]) => source);
  const even = mirrors.length === 1 && mirrors[0]?.scope === '';
  const general: Route[] = mirrors.map(({ scope, exact, path }) => ({ scope, exact, path }));
  if (!even) general.push(failAll);
  switch (matching) {
    case 'registry':
      return even ? [general] : [];
    case 'pattern':
      return [general, separateRoutes(repositories)];
    case 'prefix':
      return [general, separateRoutes(repositories)].map((routes) =>
        repairPrefixes(mapping, registry, sources, routes),
      );
  }
}

/**
 * The routes of every source registry for one kind of consumer, checked against the whole mapping: a name reaches its own image or
 * fails, also where an image of another name, or one of an earlier import, is found under its old path.
 */
export function routesOf(site: Site, names: readonly SiteName[], matching: Matching): RegistryRoutes[] {
  const mapping = new Mapping(site, names);
  const mirrors = mirrorsOf(site, names);
  return [...repositoriesByRegistry(site, names)].map(([registry, repositories]) => {
    const sources = repositories.map(([source]) => source);
    const own = mirrors.filter((mirror) => mirror.registry === registry);
    for (const routes of candidatesOf(mapping, registry, repositories, own, matching)) {
      const { wrong, failing } = wrongNames(mapping, registry, sources, routes, matching);
      if (wrong.length === 0 && failing.length === 0) return { registry, routes, failing };
    }
    return { registry, routes: [failAll], failing: sources };
  });
}
