import { dockerHubNames, formatRepository, type Repository } from '../oci/reference.js';
import { quote, type NodeFile } from './access.js';
import type { Site, SiteName } from './names.js';

/** Returns all spellings of a repository in manifests, because kustomize compares text. */
function spellings(source: Repository): string[] {
  const full = formatRepository(source);
  if (source.registry !== 'docker.io') return [full];
  const paths = [source.repository];
  if (source.repository.startsWith('library/')) paths.unshift(source.repository.slice('library/'.length));
  return [...paths, ...dockerHubNames.flatMap((host) => paths.map((path) => `${host}/${path}`))];
}

/** One entry of `images:`. kustomize reads the name as a regular expression that a tag and a digest may follow. */
interface Entry {
  readonly name: string;
  readonly newName: string;
  readonly digest?: string | undefined;
}

/** Returns the name that kustomize gives an image without tag and digest: it applies the entries one after another. */
function renamedBy(entries: readonly Entry[], image: string): string {
  for (const { name, newName, digest } of entries)
    if (digest === undefined && new RegExp(`^${name}$`).test(image)) image = newName;
  return image;
}

/** Escapes dots, so that the regular expression matches only the name. */
function literal(name: string): string {
  return name.replaceAll('.', '[.]');
}

/** Returns entries that rename each spelling, checked against what kustomize does with all of them. */
function renames(site: Site, renamed: ReadonlyMap<string, string>): { entries: Entry[]; notes: string[] } {
  const isSite = (name: string): boolean => name.startsWith(`${site.registry}/`);
  const sorted = [...renamed]
    .filter(([name, newName]) => name !== newName)
    // Names at the site come first; otherwise they would rename the results of the other entries.
    .sort(([left], [right]) => Number(isSite(right)) - Number(isSite(left)) || (left < right ? -1 : 1));
  const isWrong = (entries: readonly Entry[], name: string): boolean =>
    renamedBy(entries, name) !== (renamed.get(name) ?? name);
  const plain = sorted.map(([name, newName]) => ({ name, newName }));
  const all = [...renamed.keys()];
  if (!all.some((name) => isWrong(plain, name))) return { entries: plain, notes: [] };
  let entries = plain.map(({ name, newName }) => ({ name: literal(name), newName }));
  const notes: string[] = [];
  // Two names that swap places cannot be expressed: without an entry, they stay unchanged.
  for (const name of all.filter((each) => isWrong(entries, each))) {
    entries = entries.filter((entry) => entry.name !== literal(name));
    notes.push(
      `kustomize cannot rename ${name} to ${renamed.get(name)}; write the new name into the manifests`,
    );
  }
  return { entries, notes };
}

/** Returns entries that replace pins by an unpublished digest with the published digest. */
function pins(names: readonly SiteName[]): Entry[] {
  const entries = new Map<string, Entry>();
  for (const { source, site, digest, original } of names)
    for (const pin of [original, source.digest]) {
      if (pin === undefined || pin === digest) continue;
      for (const spelling of spellings(source)) {
        const name = `${literal(spelling)}(:[a-zA-Z0-9_.-]+)?@${pin}`;
        entries.set(name, { name, newName: formatRepository(site), digest });
      }
    }
  return [...entries.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
}

/** Paths of pod specs in Kubernetes resources. */
const podSpecs = ['spec', 'spec/template/spec', 'template/spec', 'spec/jobTemplate/spec/template/spec'];

/** Formats a kustomize component whose `images:` rename every image to its name at the site (kustomize, "images" transformer). */
export function emitKustomize(
  site: Site,
  names: readonly SiteName[],
): { files: NodeFile[]; notes: string[] } {
  const renamed = new Map<string, string>();
  for (const { source, site: target } of names)
    for (const name of spellings(source)) renamed.set(name, formatRepository(target));
  const { entries, notes } = renames(site, renamed);
  const lines = [
    '# Add to your kustomization.yaml: components: [kustomize], with the path to this folder.',
    'apiVersion: kustomize.config.k8s.io/v1alpha1',
    'kind: Component',
    '# Image fields in addition to containers and initContainers, which kustomize knows.',
    'configurations: [images.yaml]',
  ];
  const all = [...pins(names), ...entries];
  lines.push(all.length === 0 ? 'images: []' : 'images:');
  for (const { name, newName, digest } of all) {
    lines.push(`  - name: ${quote(name)}`, `    newName: ${quote(newName)}`);
    if (digest !== undefined) lines.push(`    digest: ${quote(digest)}`);
  }
  const fields = podSpecs.flatMap((spec) => [
    `  - path: ${spec}/ephemeralContainers[]/image`,
    `  - path: ${spec}/volumes[]/image/reference`,
  ]);
  const files = [
    { path: 'kustomize/kustomization.yaml', text: `${lines.join('\n')}\n` },
    { path: 'kustomize/images.yaml', text: `${['images:', ...fields].join('\n')}\n` },
  ];
  return { files, notes };
}
