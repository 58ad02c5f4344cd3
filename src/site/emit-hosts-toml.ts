import { quote, siteUrl, type NodeAccess, type NodeFile } from './access.js';
import { joinPath, pathOfScope, repositoriesByRegistry } from './mirrors.js';
import type { Site, SiteName } from './names.js';

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

function hostsToml(registry: string, path: string, site: Site, access: NodeAccess): NodeFile {
  const folder = `certs.d/${folderOf(registry)}`;
  const url = `${siteUrl(site.registry, access)}${path === '' ? '' : `/v2/${path}`}`;
  const settings = hostSettings(access, path);
  const lines = [
    `# /etc/containerd/${folder}/hosts.toml, with config_path = "/etc/containerd/certs.d" in config.toml`,
  ];
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
 * not rename them one by one: what that leaves out is told in the notes.
 */
export function emitHostsToml(
  site: Site,
  access: NodeAccess,
  names: readonly SiteName[],
): { files: NodeFile[]; notes: string[] } {
  const files = [hostsToml(site.registry, '', site, access)];
  const notes: string[] = [];
  for (const [registry, repositories] of repositoriesByRegistry(site, names)) {
    const path = pathOfScope(site, registry, '');
    const kept = repositories.filter(
      ([source, target]) => path !== undefined && target === joinPath(path, source),
    );
    if (path !== undefined && kept.length > 0) files.push(hostsToml(registry, path, site, access));
    for (const [source, target] of repositories) {
      if (path !== undefined && target === joinPath(path, source)) continue;
      notes.push(
        `containerd's hosts.toml can't rename ${registry}/${source}: its nodes have to ask for ${site.registry}/${target}`,
      );
    }
  }
  return { files, notes };
}
