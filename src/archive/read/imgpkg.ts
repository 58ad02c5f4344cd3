import { AirliftError } from '../../errors.js';
import { isObject, type Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, hexOf, type Digest } from '../../oci/digest.js';
import { formatReference, formatRepository, parseReference } from '../../oci/reference.js';
import { BlobView, entryOf, type LayoutView } from './blob-view.js';
import { MemoryRange, type PlacedRange } from '../../io/byte-range.js';
import type { Members } from './members.js';

/** The most levels of nested indexes. */
const maxDepth = 8;

/** Reports whether `manifest.json` is that of `imgpkg copy --to-tar`, which contains manifests and configs as text. */
export function isImgpkg(list: readonly unknown[]): boolean {
  return list.length > 0 && list.every((item) => isObject(item) && ('Image' in item || 'ImageIndex' in item));
}

function malformed(what: string, file: string): AirliftError {
  return new AirliftError('input', `parse ${what}: not in the format of imgpkg copy --to-tar`, {
    hint: `imgpkg copy --tar ${file} --to-repo SITE/REPOSITORY`,
  });
}

/** Returns the name of an image: its repository with the tag or the digest. */
function nameOf(item: Record<string, unknown>): string | undefined {
  const { Refs: refs, Tag: tag } = item;
  const [ref] = Array.isArray(refs) ? (refs as unknown[]) : [];
  if (typeof ref !== 'string' || ref === '') return undefined;
  const reference = parseReference(ref);
  const isTagged = typeof tag === 'string' && tag !== '';
  return isTagged ? `${formatRepository(reference)}:${tag}` : formatReference(reference);
}

/**
 * Views an archive of `imgpkg copy --to-tar` as an OCI layout: `manifest.json` holds manifests and configs, layers are
 * `sha256-<hex>.tar.gz`.
 * @throws AirliftError `input` where `manifest.json` is malformed
 */
export async function imgpkgArchive(members: Members, list: readonly unknown[]): Promise<LayoutView> {
  const what = `manifest.json in ${members.file}`;
  const documents = new Map<Digest, PlacedRange>();
  const keep = (raw: unknown): PlacedRange => {
    if (typeof raw !== 'string') throw malformed(what, members.file);
    const bytes = Buffer.from(raw);
    const content = new MemoryRange(bytes);
    documents.set(digestOf(bytes), content);
    return content;
  };
  const keepAll = (item: unknown, depth: number): PlacedRange => {
    if (!isObject(item) || depth > maxDepth) throw malformed(what, members.file);
    const { Config: config, Manifest: manifest, Images: images, Indexes: indexes, Raw: raw } = item;
    for (const child of [images, indexes].flatMap((some) => (Array.isArray(some) ? (some as unknown[]) : [])))
      keepAll(child, depth + 1);
    if (!isObject(manifest)) return keep(raw);
    if (isObject(config)) keep(config['Raw']);
    return keep(manifest['Raw']);
  };
  const entries: Descriptor[] = [];
  for (const item of list) {
    const image = isObject(item) ? (item['ImageIndex'] ?? item['Image']) : undefined;
    if (!isObject(image)) throw malformed(what, members.file);
    entries.push((await entryOf(keepAll(image, 0), nameOf(image), what)).entry);
  }
  const content = async (digest: Digest): Promise<PlacedRange | undefined> =>
    documents.get(digest) ?? members.find(`${algorithmOf(digest)}-${hexOf(digest)}.tar.gz`);
  return { members: new BlobView(members, content), entries };
}
