import { isAirliftError } from '../errors.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import { joinPath, mirrorsOf, repositoriesByRegistry, type Mirror } from './mirrors.js';
import { registryAsPath, siteRepository, type Site, type SiteName } from './names.js';

/** A rule for the names in a scope of one registry: a node requests them from the site below `path`, or fails. */
export interface Route {
  /** A repository, or everything below a path; '' for the whole registry. */
  readonly scope: string;
  /** Whether the route applies only to the repository `scope`. Formats that match by prefix cannot express that. */
  readonly exact: boolean;
  /** The path at the site; undefined if the names fail. */
  readonly path: string | undefined;
}

/** How a consumer of node files selects a route. */
type Matching =
  /** One path for the whole registry: `hosts.toml`. */
  | 'registry'
  /** The longest prefix, whole path components: `registries.conf`, OpenShift's mirror sets. */
  | 'prefix'
  /** Patterns; no two match the same name: `registries.yaml`. */
  | 'pattern';

/** The routes of one source registry, and the repositories that they cannot express. */
export interface RegistryRoutes {
  readonly registry: string;
  readonly routes: readonly Route[];
  /** Repositories of the mapping that fail because the format cannot express them. */
  readonly failing: readonly string[];
}

const maxRepairs = 20;

const failAll: Route = { scope: '', exact: false, path: undefined };

/** Returns a path that holds no image, for names that must fail: the site answers that the repository does not exist. */
export function unmappedPath(registry: string, scope = ''): string {
  return joinPath(joinPath('airlift-not-mapped', registryAsPath(registry)), scope);
}

function isBelow(path: string, scope: string): boolean {
  return scope === '' || path.startsWith(`${scope}/`);
}

/** Returns the path at the site where a consumer finds a repository; undefined if the name fails. */
function resolveRoute(routes: readonly Route[], repository: string, matching: Matching): string | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    const isExact = route.exact && matching !== 'prefix';
    if (repository !== route.scope && (isExact || !isBelow(repository, route.scope))) continue;
    if (repository === route.scope && !route.exact && matching === 'pattern' && route.path !== undefined)
      continue; // a pattern for everything below a path does not match the path itself
    if (best === undefined || route.scope.length > best.scope.length || (route.exact && !best.exact))
      best = route;
  }
  if (best?.path === undefined) return undefined;
  return joinPath(best.path, repository.slice(best.scope === '' ? 0 : best.scope.length + 1));
}

/** The whole mapping: the path at the site of each repository, including repositories without an image. */
class Mapping {
  readonly #targets = new Map<string, string>();
  /** All paths with images at the site. */
  readonly paths: readonly string[];

  constructor(
    readonly site: Site,
    names: readonly SiteName[],
  ) {
    for (const { source, site: target } of names)
      this.#targets.set(formatRepository(source), target.repository);
    this.paths = [...new Set(this.#targets.values())];
  }

  /** Returns the path of a repository that has images. */
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

/** Returns the names that reach the image of another name, and the names that do not reach their image. */
function wrongNames(
  mapping: Mapping,
  registry: string,
  sources: readonly string[],
  routes: readonly Route[],
  matching: Matching,
): { wrong: string[]; failing: string[] } {
  const repositories = new Set(sources);
  // Add every name that a route leads to an image of the site.
  for (const { scope, path } of routes) {
    if (path === undefined) continue;
    for (const target of mapping.paths) {
      if (target === path && scope !== '') repositories.add(scope);
      else if (isBelow(target, path))
        repositories.add(joinPath(scope, target.slice(path === '' ? 0 : path.length + 1)));
    }
  }
  const wrong: string[] = [];
  const failing: string[] = [];
  for (const repository of repositories) {
    const found = resolveRoute(routes, repository, matching);
    const source = { registry, repository };
    if (found === undefined) {
      if (mapping.own(source) !== undefined) failing.push(repository);
    } else if (found !== mapping.path(source)) wrong.push(repository);
  }
  return { wrong, failing };
}

/** Returns one route for each repository with images; all other names fail. */
function separateRoutes(repositories: readonly (readonly [string, string])[]): Route[] {
  return [...repositories.map(([scope, path]) => ({ scope, exact: true, path })), failAll];
}

/** Returns routes by prefix. A route for a repository also applies to everything below it; where that is wrong, adds further routes. */
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

/** Returns sets of routes to try, the most general first. */
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
 * Returns the routes of every source registry for one kind of consumer, checked against the whole mapping: a name reaches its own
 * image or fails, even if its old path at the site holds an image of another name or of an earlier import.
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
