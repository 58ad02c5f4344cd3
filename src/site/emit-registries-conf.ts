import { quote, type NodeAccess, type NodeFile } from './access.js';
import { joinPath } from './mirrors.js';
import type { Site, SiteName } from './names.js';
import { routesOf } from './routes.js';

/** Formats `registries.conf` for CRI-O, podman, skopeo and buildah (containers-registries.conf(5), version 2). */
export function emitRegistriesConf(site: Site, access: NodeAccess, names: readonly SiteName[]): NodeFile {
  const insecure = access.plainHttp === true || access.skipVerify === true;
  const lines = ['# /etc/containers/registries.conf.d/50-airlift.conf'];
  if (access.caFile !== undefined)
    lines.push(`# Install the CA certificate as /etc/containers/certs.d/${site.registry}/ca.crt`);
  const entry = (prefix: string, location: string): void => {
    lines.push('', '[[registry]]', `prefix = ${quote(prefix)}`);
    if (access.fallback === true && prefix !== location) {
      lines.push(`location = ${quote(prefix)}`, '', '[[registry.mirror]]');
    }
    lines.push(`location = ${quote(location)}`);
    if (insecure) lines.push('insecure = true');
  };
  /** Adds an entry for names that are not at the site: block them, or request them from the source registry only. */
  const missing = (prefix: string): void => {
    lines.push('', '[[registry]]', `prefix = ${quote(prefix)}`, `location = ${quote(prefix)}`);
    if (access.fallback !== true) lines.push('blocked = true');
  };
  if (insecure) entry(site.registry, site.registry);
  for (const { registry, routes } of routesOf(site, names, 'prefix'))
    for (const { scope, path } of routes) {
      const prefix = joinPath(registry, scope);
      if (path === undefined) missing(prefix);
      else entry(prefix, joinPath(site.registry, path));
    }
  return { path: 'registries.conf', text: `${lines.join('\n')}\n` };
}
