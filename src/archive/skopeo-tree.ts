import { hexOf, algorithmOf, type Digest } from '../oci/digest.js';
import { isAirliftError } from '../errors.js';
import { formatReference, parseReference } from '../oci/reference.js';
import { BlobView, entryOf, FolderMembers, type LayoutView } from './blob-view.js';
import type { ByteRange } from './byte-range.js';
import { findMember, type Members } from './members.js';

/**
 * The name of an image that `skopeo sync` wrote: the folders above it, from the registry on where `--scoped` says one.
 * @returns undefined where the folder has no tag or digest, as one of `skopeo copy` to `dir:`
 */
export function nameOfFolder(folder: string): string | undefined {
  const parts = folder.split('/');
  const last = parts.at(-1) ?? '';
  if (!/[:@]/.test(last)) return undefined;
  const registry = parts.slice(0, -1).findLastIndex((part) => /[.:]/.test(part) || part === 'localhost');
  // Without a registry, the folders above are where somebody put the tree.
  const name = registry < 0 ? last : parts.slice(registry).join('/');
  try {
    return formatReference(parseReference(name));
  } catch (error) {
    if (isAirliftError(error, 'usage')) return undefined;
    throw error;
  }
}

/** How skopeo names a file by its digest: the hexadecimal part alone for sha256. */
function fileOf(digest: Digest): string {
  const algorithm = algorithmOf(digest);
  return algorithm === 'sha256' ? hexOf(digest) : `${algorithm}-${hexOf(digest)}`;
}

/**
 * Folders as skopeo's `dir:` transport writes them, one image each: `manifest.json` is the image's manifest or index, everything else
 * is named by its digest. `skopeo sync --dest dir` writes many of them, in folders with the images' names.
 * @param folders without `/` at their end; '' is the archive itself
 */
export async function skopeoTree(
  members: Members,
  folders: readonly string[],
  warn: (text: string) => void,
): Promise<LayoutView> {
  const trees = folders.map((folder) => (folder === '' ? members : new FolderMembers(members, folder)));
  const roots = new Map<Digest, ByteRange>();
  const entries = [];
  for (const [at, tree] of trees.entries()) {
    const folder = folders[at] ?? '';
    const content = await findMember(tree, 'manifest.json', 'skopeo');
    const what = `${folder === '' ? '' : `${folder}/`}manifest.json in ${members.file}`;
    const { entry } = await entryOf(content, nameOfFolder(folder), what);
    if ((await tree.find('signature-1')) !== undefined)
      warn(`left out the signatures beside ${what}: registries have no place for this kind`);
    roots.set(entry.digest, content);
    entries.push(entry);
  }
  const content = async (digest: Digest): Promise<ByteRange | undefined> => {
    const root = roots.get(digest);
    if (root !== undefined) return root;
    const file = fileOf(digest);
    for (const tree of trees) {
      const found = (await tree.find(file)) ?? (await tree.find(`${file}.manifest.json`));
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return { members: new BlobView(members, content), entries };
}
