import { isAirliftError } from '../errors.js';
import { siteRepository, type Site, type SiteName } from './names.js';

/** That repositories of a source registry are found at the site, for nodes that keep asking by the source's name. */
export interface Mirror {
  readonly registry: string;
  /** The part of the registry it holds for: a repository, or everything below a path; '' for everything. */
  readonly scope: string;
  /** Whether it holds for the repository `scope` alone. */
  readonly exact: boolean;
  /** Where the scope is found at the site; '' for its root. */
  readonly path: string;
}

/** A name that no image has, to ask the mapping what it does in general. */
const probe = 'airlift-probe';

/** Joins paths of which either may be ''. */
export function joinPath(left: string, right: string): string {
  return left === '' || right === '' ? left + right : `${left}/${right}`;
}

/** `path` without `rest` at its end, or undefined where it does not end in it. */
function withoutEnd(path: string, rest: string): string | undefined {
  if (path === rest) return '';
  return path.endsWith(`/${rest}`) ? path.slice(0, -rest.length - 1) : undefined;
}

/** Where everything below `scope` is found at the site, by the rules; undefined where they change the rest of the path. */
export function pathOfScope(site: Site, registry: string, scope: string): string | undefined {
  const rest = scope === '' ? `${probe}/${probe}` : probe;
  try {
    return withoutEnd(siteRepository(site, { registry, repository: joinPath(scope, rest) }).repository, rest);
  } catch (error) {
    if (isAirliftError(error, 'usage')) return undefined; // only too long with the probe's name in it
    throw error;
  }
}

type Repositories = readonly (readonly [source: string, site: string])[];

/** The largest scopes within which all repositories keep the rest of their path. */
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

/** The repositories of every source registry but the site itself, with their paths at the site, in order. */
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
 * How nodes find the images at the site under the source's names: as few and as general mirrors as the mapping allows,
 * in order of registry and scope. Where scopes overlap, the longest holds.
 */
export function mirrorsOf(site: Site, names: readonly SiteName[]): Mirror[] {
  return [...repositoriesByRegistry(site, names)].flatMap(([registry, repositories]) =>
    mirrorsBelow(site, registry, '', repositories),
  );
}
