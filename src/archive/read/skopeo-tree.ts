import { isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, hexOf, type Digest } from '../../oci/digest.js';
import { formatReference, parseReference } from '../../oci/reference.js';
import { BlobView, entryOf, type LayoutView } from './blob-view.js';
import type { PlacedRange } from '../../io/byte-range.js';
import { findMember, type Members } from './members.js';

/**
 * Returns the name of an image that `skopeo sync` wrote: the folders above it, starting at the registry if `--scoped` added one.
 * @returns undefined where the folder has no tag or digest, like that of `skopeo copy` to `dir:`
 */
function nameOfFolder(folder: string): string | undefined {
  const parts = folder.split('/');
  const last = parts.at(-1) ?? '';
  if (!/[:@]/.test(last)) return undefined;
  const registry = parts.slice(0, -1).findLastIndex((part) => /[.:]/.test(part) || part === 'localhost');
  // Without a registry, the folders above are not part of the name.
  const name = registry < 0 ? last : parts.slice(registry).join('/');
  try {
    return formatReference(parseReference(name));
  } catch (error) {
    if (isAirliftError(error, 'usage')) return undefined;
    throw error;
  }
}

/** Returns skopeo's file name for a digest: for sha256 the hexadecimal part only. */
function fileOf(digest: Digest): string {
  const algorithm = algorithmOf(digest);
  return algorithm === 'sha256' ? hexOf(digest) : `${algorithm}-${hexOf(digest)}`;
}

/**
 * Views folders of skopeo's `dir:` transport as an OCI layout. Each holds one image: `manifest.json` is its manifest or index, all other
 * files are named by digest. `skopeo sync --dest dir` writes many, in folders with the images' names.
 * @param folders without trailing `/`; '' is the archive itself
 */
export async function skopeoTree(
  members: Members,
  folders: readonly string[],
  warn: (text: string) => void,
  signal?: AbortSignal,
): Promise<LayoutView> {
  const inside = new Set(folders);
  // One pass collects all files by name, because any of thousands of folders might hold a digest.
  const places = new Map<string, string>();
  for await (const path of members.below('')) {
    const slash = Math.max(0, path.lastIndexOf('/'));
    if (inside.has(path.slice(0, slash))) places.set(path.slice(slash === 0 ? 0 : slash + 1), path);
  }
  const roots = new Map<Digest, PlacedRange>();
  const entries: Descriptor[] = [];
  for (const folder of folders) {
    signal?.throwIfAborted();
    const prefix = folder === '' ? '' : `${folder}/`;
    const content = await findMember(members, `${prefix}manifest.json`, 'skopeo');
    const what = `${prefix}manifest.json in ${members.file}`;
    const { entry } = await entryOf(content, nameOfFolder(folder), what);
    if ((await members.find(`${prefix}signature-1`)) !== undefined)
      warn(`skipped the signatures beside ${what}: registries cannot store simple-signing signatures`);
    roots.set(entry.digest, content);
    entries.push(entry);
  }
  const content = async (digest: Digest): Promise<PlacedRange | undefined> => {
    const file = fileOf(digest);
    const path = places.get(file) ?? places.get(`${file}.manifest.json`);
    return roots.get(digest) ?? (path === undefined ? undefined : members.find(path));
  };
  return { members: new BlobView(members, content), entries };
}
