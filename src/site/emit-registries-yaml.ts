import { quote, siteUrl, type NodeAccess, type NodeFile } from './access.js';
import { joinPath, mirrorsOf, type Mirror } from './mirrors.js';
import type { Site, SiteName } from './names.js';

/**
 * A repository as a regular expression of Go. A dot is put into brackets, not behind a backslash: k3s copies the pattern
 * into a TOML string, where a backslash would mean something else.
 */
function literal(repository: string): string {
  return repository.replaceAll('.', '[.]');
}

/** The rewrite that a mirror needs, or undefined where the path stays. No two of one registry fit the same repository. */
function rewriteOf(mirror: Mirror): string | undefined {
  if (mirror.path === mirror.scope) return undefined;
  if (mirror.exact) return `${quote(`^${literal(mirror.scope)}$`)}: ${quote(mirror.path)}`;
  return `${quote(`^${joinPath(literal(mirror.scope), '(.*)')}$`)}: ${quote(joinPath(mirror.path, '$1'))}`;
}

/** `registries.yaml` for k3s and RKE2 (docs.k3s.io, "Private Registry Configuration"). */
export function emitRegistriesYaml(site: Site, access: NodeAccess, names: readonly SiteName[]): NodeFile {
  const url = siteUrl(site.registry, access);
  const lines = [
    '# k3s: /etc/rancher/k3s/registries.yaml, RKE2: /etc/rancher/rke2/registries.yaml, on every node; then restart it.',
    ...(access.fallback === true
      ? []
      : [
          '# Nodes ask the source registry for what the site lacks, unless started with --disable-default-registry-endpoint.',
        ]),
    'mirrors:',
  ];
  const byRegistry = new Map<string, Mirror[]>([[site.registry, []]]);
  for (const mirror of mirrorsOf(site, names)) {
    const mirrors = byRegistry.get(mirror.registry) ?? [];
    byRegistry.set(mirror.registry, [...mirrors, mirror]);
  }
  for (const [registry, mirrors] of byRegistry) {
    lines.push(`  ${quote(registry)}:`, '    endpoint:', `      - ${quote(url)}`);
    const rewrites = mirrors.map(rewriteOf).filter((rewrite) => rewrite !== undefined);
    if (rewrites.length > 0) lines.push('    rewrite:', ...rewrites.map((rewrite) => `      ${rewrite}`));
  }
  if (access.caFile !== undefined || access.skipVerify === true) {
    lines.push('configs:', `  ${quote(site.registry)}:`, '    tls:');
    if (access.caFile !== undefined) lines.push(`      ca_file: ${quote(access.caFile)}`);
    if (access.skipVerify === true) lines.push('      insecure_skip_verify: true');
  }
  return { path: 'registries.yaml', text: `${lines.join('\n')}\n` };
}
