import { formatRepository } from '../oci/reference.js';
import { quote, siteUrl, type NodeAccess, type NodeFile } from './access.js';
import { joinPath, pathOfScope } from './mirrors.js';
import type { Site, SiteName } from './names.js';
import { routesOf, unmappedPath } from './routes.js';

/** The folder of a registry in `certs.d`: containerd takes `host_port_` for `host:port`, which every file system can hold. */
function folderOf(registry: string): string {
  const port = /:(\d+)$/.exec(registry);
  return port === null ? registry : `${registry.slice(0, port.index)}_${port[1] ?? ''}_`;
}

/** Where a registry answers that is asked under another name. */
function upstreamOf(registry: string): string {
  return `https://${registry === 'docker.io' ? 'registry-1.docker.io' : registry}`;
}

/** The settings of one host, at the top of the file or in a `[host]` table. */
function hostSettings(access: NodeAccess, path: string): string[] {
  return [
    'capabilities = ["pull", "resolve"]',
    ...(path === '' ? [] : ['override_path = true']),
    ...(access.caFile === undefined ? [] : [`ca = ${quote(access.caFile)}`]),
    ...(access.skipVerify === true ? ['skip_verify = true'] : []),
  ];
}

/** @param path where the registry's repositories are at the site; undefined where its names must fail */
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
      '# The images of this registry are renamed in ways that this file cannot express: asking for them fails.',
    );
  // As the server too, nothing else is asked when the site lacks an image.
  const fallback = access.fallback === true && registry !== site.registry;
  lines.push(`server = ${quote(fallback ? upstreamOf(registry) : url)}`);
  if (!fallback) lines.push(...settings);
  // containerd 1.6 leaves out a file without a [host] table.
  lines.push('', `[host.${quote(url)}]`, ...settings.map((setting) => `  ${setting}`));
  return { path: `${folder}/hosts.toml`, text: `${lines.join('\n')}\n` };
}

/**
 * A `certs.d` tree for containerd (containerd, docs/hosts.md). It can put a path in front of a registry's repositories,
 * not rename them one by one. A registry whose names need that gets a file that lets all of them fail, since any of them might
 * reach another image under its old path; the notes tell which.
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
      `containerd's hosts.toml cannot rename ${source} to ${targets.get(source)}${others}: on its nodes every name of ` +
        `${registry} fails, so that none reaches another image; ask for the names in names.tsv, or leave out \`rules\``,
    );
  }
  return { files, notes };
}
