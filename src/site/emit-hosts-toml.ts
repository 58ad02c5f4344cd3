import { formatRepository } from '../oci/reference.js';
import { quote, siteUrl, type NodeAccess, type NodeFile } from './access.js';
import { joinPath, pathOfScope } from './mirrors.js';
import type { Site, SiteName } from './names.js';
import { routesOf, unmappedPath } from './routes.js';

/** Returns the folder of a registry in `certs.d`. containerd accepts `host_port_` for `host:port`, which is valid on every filesystem. */
function folderOf(registry: string): string {
  const port = /:(\d+)$/.exec(registry);
  return port === null ? registry : `${registry.slice(0, port.index)}_${port[1] ?? ''}_`;
}

/** Returns the URL of a registry. Docker Hub uses another host name for it. */
function upstreamOf(registry: string): string {
  return `https://${registry === 'docker.io' ? 'registry-1.docker.io' : registry}`;
}

/** Returns the settings of one host, for the top of the file or a `[host]` table. */
function hostSettings(access: NodeAccess, path: string): string[] {
  return [
    'capabilities = ["pull", "resolve"]',
    ...(path === '' ? [] : ['override_path = true']),
    ...(access.caFile === undefined ? [] : [`ca = ${quote(access.caFile)}`]),
    ...(access.skipVerify === true ? ['skip_verify = true'] : []),
  ];
}

/** @param path the path of the registry's repositories at the site; undefined if its names must fail */
function hostsToml(registry: string, path: string | undefined, site: Site, access: NodeAccess): NodeFile {
  const folder = `certs.d/${folderOf(registry)}`;
  const below = path ?? unmappedPath(registry);
  const url = `${siteUrl(site.registry, access)}${below === '' ? '' : `/v2/${below}`}`;
  const settings = hostSettings(access, below);
  const lines = [
    `# /etc/containerd/${folder}/hosts.toml, with config_path = "/etc/containerd/certs.d" in config.toml`,
  ];
  if (path === undefined)
    lines.push(
      '# This file cannot express how the images of this registry are renamed, so all of its names fail.',
    );
  // The site is the server too, so that nodes request nothing else if it lacks an image.
  const fallback = access.fallback === true && registry !== site.registry;
  lines.push(`server = ${quote(fallback ? upstreamOf(registry) : url)}`);
  if (!fallback) lines.push(...settings);
  // containerd 1.6 ignores a file without a [host] table.
  lines.push('', `[host.${quote(url)}]`, ...settings.map((setting) => `  ${setting}`));
  return { path: `${folder}/hosts.toml`, text: `${lines.join('\n')}\n` };
}

/**
 * Formats a `certs.d` tree for containerd (containerd, docs/hosts.md). It can add a path in front of a registry's repositories, but
 * cannot rename single repositories. If a registry needs that, its file makes all of its names fail, because a name might reach
 * another image under its old path. The notes list these registries.
 */
export function emitHostsToml(
  site: Site,
  access: NodeAccess,
  names: readonly SiteName[],
): { files: NodeFile[]; notes: string[] } {
  const files = [hostsToml(site.registry, '', site, access)];
  const notes: string[] = [];
  const targets = new Map(
    names.map((name) => [formatRepository(name.source), formatRepository(name.site)] as const),
  );
  for (const { registry, routes, failing } of routesOf(site, names, 'registry')) {
    files.push(hostsToml(registry, routes[0]?.path, site, access));
    const usual = pathOfScope(site, registry, '');
    const renamed = failing.filter(
      (source) =>
        targets.get(`${registry}/${source}`) !== joinPath(site.registry, joinPath(usual ?? '', source)),
    );
    const [example] = renamed.length > 0 ? renamed : failing;
    if (example === undefined) continue;
    const source = `${registry}/${example}`;
    const others = renamed.length > 1 ? ` (and ${renamed.length - 1} more)` : '';
    notes.push(
      `containerd's hosts.toml cannot rename ${source} to ${targets.get(source)}${others}: on containerd nodes, every name of ` +
        `${registry} fails, so that none reaches the wrong image; use the names in names.tsv, or leave out \`rules\``,
    );
  }
  return { files, notes };
}
