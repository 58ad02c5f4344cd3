import { isAirliftError } from '../errors.js';
import { siteRepository, type Site, type SiteName } from './names.js';

/** The place at the site of repositories of a source registry, for nodes that use the source's names. */
export interface Mirror {
  readonly registry: string;
  /** The part of the registry: a repository, or everything below a path; '' for the whole registry. */
  readonly scope: string;
  /** Whether the mirror applies only to the repository `scope`. */
  readonly exact: boolean;
  /** Path of the scope at the site; '' for the root. */
  readonly path: string;
}

/** A name that no image has, to find out what the mapping does in general. */
const probe = 'airlift-probe';

/** Joins two paths; either may be ''. */
export function joinPath(left: string, right: string): string {
  return left === '' || right === '' ? left + right : `${left}/${right}`;
}

/** Returns `path` without `rest` at its end; undefined if it does not end in `rest`. */
function withoutEnd(path: string, rest: string): string | undefined {
  if (path === rest) return '';
  return path.endsWith(`/${rest}`) ? path.slice(0, -rest.length - 1) : undefined;
}

/** Returns the path at the site of everything below `scope`; undefined if the rules change the rest of the path. */
export function pathOfScope(site: Site, registry: string, scope: string): string | undefined {
  const rest = scope === '' ? `${probe}/${probe}` : probe;
  try {
    return withoutEnd(siteRepository(site, { registry, repository: joinPath(scope, rest) }).repository, rest);
  } catch (error) {
    if (isAirliftError(error, 'usage')) return undefined; // the path is too long with the probe's name in it
    throw error;
  }
}

type Repositories = readonly (readonly [source: string, site: string])[];

/** Returns mirrors for the largest scopes in which all repositories keep the rest of their path. */
function mirrorsBelow(site: Site, registry: string, scope: string, repositories: Repositories): Mirror[] {
  const below = repositories.filter(([source]) => source !== scope);
  const mirrors: Mirror[] = repositories
    .filter(([source]) => source === scope)
    .map(([, path]) => ({ registry, scope, exact: true, path }));
  const common = pathOfScope(site, registry, scope);
  const keepsRest = ([source, path]: readonly [string, string]): boolean =>
    path === joinPath(common ?? '', scope === '' ? source : source.slice(scope.length + 1));
  if (below.length > 0 && common !== undefined && below.every(keepsRest))
    return [...mirrors, { registry, scope, exact: false, path: common }];
  const parts = new Map<string, (readonly [string, string])[]>();
  for (const repository of below) {
    const slash = repository[0].indexOf('/', scope === '' ? 0 : scope.length + 1);
    const part = slash < 0 ? repository[0] : repository[0].slice(0, slash);
    const inside = parts.get(part);
    if (inside === undefined) parts.set(part, [repository]);
    else inside.push(repository);
  }
  for (const [part, inside] of parts) mirrors.push(...mirrorsBelow(site, registry, part, inside));
  return mirrors;
}

/** Returns the repositories of every source registry except the site, with their paths at the site, sorted. */
export function repositoriesByRegistry(site: Site, names: readonly SiteName[]): Map<string, Repositories> {
  const registries = new Map<string, Map<string, string>>();
  for (const { source, site: target } of names) {
    if (source.registry === site.registry) continue;
    const repositories = registries.get(source.registry) ?? new Map<string, string>();
    registries.set(source.registry, repositories.set(source.repository, target.repository));
  }
  const sorted = [...registries].sort(([left], [right]) => (left < right ? -1 : 1));
  return new Map(
    sorted.map(([registry, repositories]) => [
      registry,
      [...repositories].sort(([left], [right]) => (left < right ? -1 : 1)),
    ]),
  );
}

/**
 * Returns the mirrors with which nodes find the images at the site by the source's names: as few and as general as the mapping
 * allows, sorted by registry and scope. If scopes overlap, the longest applies.
 */
export function mirrorsOf(site: Site, names: readonly SiteName[]): Mirror[] {
  return [...repositoriesByRegistry(site, names)].flatMap(([registry, repositories]) =>
    mirrorsBelow(site, registry, '', repositories),
  );
}
