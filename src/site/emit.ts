import { formatReference } from '../oci/reference.js';
import type { NodeAccess, NodeFile } from './access.js';
import { joinNames, parseTable, tablePath } from './earlier.js';
import { emitHostsToml } from './emit-hosts-toml.js';
import { emitKustomize } from './emit-kustomize.js';
import { emitOpenShift, mirrorSetName } from './emit-openshift.js';
import { emitRegistriesConf } from './emit-registries-conf.js';
import { emitRegistriesYaml } from './emit-registries-yaml.js';
import type { Site, SiteName } from './names.js';

/** Files of an earlier run in the same directory; their names are kept. */
export interface EarlierFiles {
  /** Text of `names.tsv`. */
  readonly table: string;
  /** Its path, for messages. */
  readonly file: string;
  /** Text of `openshift/mirror-sets.yaml`; its objects keep their name. */
  readonly mirrorSets?: string | undefined;
}

/**
 * Formats the table of names: one line per name with source, site and published digest, separated by tabs. An unpublished
 * digest of the publisher has a line of its own.
 */
function emitTable(names: readonly SiteName[]): NodeFile {
  const lines = new Set<string>();
  for (const { source, site, digest, original } of names) {
    lines.add([formatReference(source), formatReference(site), digest].join('\t'));
    if (original === undefined || original === digest || source.digest !== undefined) continue;
    const pinned = { ...source, digest: original };
    lines.add([formatReference(pinned), formatReference({ ...site, digest }), digest].join('\t'));
  }
  return { path: tablePath, text: ['source\tsite\tdigest', ...lines, ''].join('\n') };
}

/**
 * Formats all files with which nodes and manifests find the images at the site. The same names give the same bytes. Each file is
 * checked against the whole mapping: a name resolves to its own image or fails.
 * @returns the files, and notes about names that a file cannot express
 * @throws AirliftError errors of `parseTable` and `joinNames` about files of an earlier run
 */
export function emitNodeFiles(
  site: Site,
  access: NodeAccess,
  names: readonly SiteName[],
  earlier?: EarlierFiles,
): { files: NodeFile[]; notes: string[] } {
  const before = earlier === undefined ? [] : parseTable(earlier.table, earlier.file);
  const joined = joinNames(site, before, names, earlier?.file ?? tablePath);
  const set = earlier?.mirrorSets === undefined ? undefined : mirrorSetName(earlier.mirrorSets);
  const hosts = emitHostsToml(site, access, joined.names);
  const kustomize = emitKustomize(site, joined.names);
  return {
    files: [
      emitTable(joined.names),
      emitRegistriesYaml(site, access, joined.names),
      emitRegistriesConf(site, access, joined.names),
      ...emitOpenShift(site, access, joined.names, set),
      ...kustomize.files,
      ...hosts.files,
    ],
    notes: [...joined.notes, ...hosts.notes, ...kustomize.notes],
  };
}
