import { quote, siteUrl, type NodeAccess, type NodeFile } from './access.js';
import { joinPath } from './mirrors.js';
import type { Site, SiteName } from './names.js';
import { routesOf, unmappedPath, type RegistryRoutes, type Route } from './routes.js';

/**
 * Formats a repository as a Go regular expression. A dot is written `[.]` instead of `\.`, because k3s copies the pattern into a
 * TOML string, where a backslash starts an escape.
 */
function literal(repository: string): string {
  return repository.replaceAll('.', '[.]');
}

interface Trie {
  readonly next: Map<string, Trie>;
  /** Whether a repository that ends here has a route. */
  ends: boolean;
  /** Whether every repository below has a route. */
  below: boolean;
}

/** Returns a pattern for the repositories without a route: Go's regular expressions have no negation. */
function uncovered(routes: readonly Route[]): string {
  const root: Trie = { next: new Map(), ends: false, below: false };
  for (const { scope, exact, path } of routes) {
    if (path === undefined) continue;
    let node = root;
    for (const character of scope) {
      const next = node.next.get(character) ?? { next: new Map<string, Trie>(), ends: false, below: false };
      node.next.set(character, next);
      node = next;
    }
    if (exact) node.ends = true;
    else node.below = true;
  }
  const without = ({ next, ends, below }: Trie): string => {
    const followed = new Set(below ? [...next.keys(), '/'] : next.keys());
    // In a class, a hyphen is literal only if it comes first.
    const characters = [...followed].sort((left, right) => Number(right === '-') - Number(left === '-'));
    const choices = ends ? [] : [''];
    choices.push(characters.length === 0 ? '.+' : `[^${characters.join('')}].*`);
    for (const [character, child] of next)
      if (!(below && character === '/')) choices.push(literal(character) + without(child));
    return `(?:${choices.join('|')})`;
  };
  return without(root);
}

/** Returns the rewrites of one registry. No two of them match the same repository, because k3s applies them in any order. */
function rewritesOf({ registry, routes }: RegistryRoutes): string[] {
  return routes.flatMap((route) => {
    const { scope, exact, path } = route;
    if (path === scope) return [];
    if (path === undefined)
      return [`${quote(`^(${uncovered(routes)})$`)}: ${quote(joinPath(unmappedPath(registry), '$1'))}`];
    if (exact) return [`${quote(`^${literal(scope)}$`)}: ${quote(path)}`];
    return [`${quote(`^${joinPath(literal(scope), '(.*)')}$`)}: ${quote(joinPath(path, '$1'))}`];
  });
}

/** Formats `registries.yaml` for k3s and RKE2 (docs.k3s.io, "Private Registry Configuration"). */
export function emitRegistriesYaml(site: Site, access: NodeAccess, names: readonly SiteName[]): NodeFile {
  const url = siteUrl(site.registry, access);
  const lines = [
    '# k3s: /etc/rancher/k3s/registries.yaml, RKE2: /etc/rancher/rke2/registries.yaml, on every node; then restart k3s or RKE2.',
    ...(access.fallback === true
      ? []
      : [
          '# If the site lacks an image, nodes request it from the source registry, unless started with --disable-default-registry-endpoint.',
        ]),
    'mirrors:',
  ];
  const own: RegistryRoutes = { registry: site.registry, routes: [], failing: [] };
  for (const each of [own, ...routesOf(site, names, 'pattern')]) {
    lines.push(`  ${quote(each.registry)}:`, '    endpoint:', `      - ${quote(url)}`);
    const rewrites = rewritesOf(each);
    if (rewrites.length > 0) lines.push('    rewrite:', ...rewrites.map((rewrite) => `      ${rewrite}`));
  }
  if (access.caFile !== undefined || access.skipVerify === true) {
    lines.push('configs:', `  ${quote(site.registry)}:`, '    tls:');
    if (access.caFile !== undefined) lines.push(`      ca_file: ${quote(access.caFile)}`);
    if (access.skipVerify === true) lines.push('      insecure_skip_verify: true');
  }
  return { path: 'registries.yaml', text: `${lines.join('\n')}\n` };
}
