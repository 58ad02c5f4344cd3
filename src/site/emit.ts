import { formatReference } from '../oci/reference.js';
import type { NodeAccess, NodeFile } from './access.js';
import { emitHostsToml } from './emit-hosts-toml.js';
import { emitKustomize } from './emit-kustomize.js';
import { emitOpenShift } from './emit-openshift.js';
import { emitRegistriesConf } from './emit-registries-conf.js';
import { emitRegistriesYaml } from './emit-registries-yaml.js';
import type { Site, SiteName } from './names.js';

/** The names at the source, at the site, and the digest that is published, a line each, separated by tabs. */
export function emitTable(names: readonly SiteName[]): NodeFile {
  const lines = names.map(({ source, site, digest }) =>
    [formatReference(source), formatReference(site), digest].join('\t'),
  );
  return { path: 'names.tsv', text: ['source\tsite\tdigest', ...lines, ''].join('\n') };
}

/**
 * Everything that nodes and manifests need to find the images at the site. The same names give the same bytes.
 * @returns files by their paths below one folder, and notes about what a file can't express
 */
export function emitNodeFiles(
  site: Site,
  access: NodeAccess,
  names: readonly SiteName[],
): { files: NodeFile[]; notes: string[] } {
  const hosts = emitHostsToml(site, access, names);
  return {
    files: [
      emitTable(names),
      emitRegistriesYaml(site, access, names),
      emitRegistriesConf(site, access, names),
      emitOpenShift(site, access, names),
      emitKustomize(names),
      ...hosts.files,
    ],
    notes: hosts.notes,
  };
}
