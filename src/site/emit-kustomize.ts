import { formatRepository, type Repository } from '../oci/reference.js';
import { quote, type NodeFile } from './access.js';
import type { SiteName } from './names.js';

/** All the ways in which manifests spell a repository; kustomize compares text. */
function spellings(source: Repository): string[] {
  const full = formatRepository(source);
  if (source.registry !== 'docker.io') return [full];
  const short = source.repository.startsWith('library/') ? [source.repository.slice('library/'.length)] : [];
  return [...short, source.repository, ...short.map((name) => `docker.io/${name}`), full];
}

/** A kustomize component whose `images:` give every image its name at the site (kustomize, "images" transformer). */
export function emitKustomize(names: readonly SiteName[]): NodeFile {
  const renamed = new Map<string, string>();
  for (const { source, site } of names)
    for (const name of spellings(source)) renamed.set(name, formatRepository(site));
  const entries = [...renamed]
    .filter(([name, newName]) => name !== newName)
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .flatMap(([name, newName]) => [`  - name: ${quote(name)}`, `    newName: ${quote(newName)}`]);
  const lines = [
    '# In a kustomization.yaml: components: [kustomize], with the path to this folder.',
    'apiVersion: kustomize.config.k8s.io/v1alpha1',
    'kind: Component',
    entries.length === 0 ? 'images: []' : 'images:',
    ...entries,
  ];
  return { path: 'kustomize/kustomization.yaml', text: `${lines.join('\n')}\n` };
}
