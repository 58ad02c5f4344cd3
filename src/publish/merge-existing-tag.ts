import { maxDepth } from '../plan/choose-platforms.js';
import { AirliftError, isAirliftError } from '../errors.js';
import { isRefusedReading } from '../oci/guess.js';
import { IndexDraft, type ComposedIndex } from '../oci/compose.js';
import type { Descriptor } from '../oci/descriptor.js';
import {
  childOf,
  childrenOf,
  inPlatformOrder,
  platformFieldsOfConfig,
  type IndexChild,
} from '../oci/index-child.js';
import { attestationSubject, parseManifest } from '../oci/manifest.js';
import { isIndex } from '../oci/media-types.js';
import { readContent, readManifest } from '../oci/read.js';
import { formatReference, type Reference } from '../oci/reference.js';
import { mayRun } from '../oci/runnable.js';
import type { SiteRegistry } from './blob-publisher.js';

/** What a tag is to point at, and what it points at now. All of both is at the site. */
export interface TagMerge {
  readonly site: SiteRegistry;
  readonly name: Reference;
  readonly there: Descriptor;
  /** What is published: a manifest or an index. */
  readonly root: ComposedIndex;
  /** The publisher's index, where `root` is a filtered copy of it. */
  readonly original?: ComposedIndex | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The images below a manifest or index, those of nested indexes too, with all that their entries say. */
async function leavesOf(merge: TagMerge, top: ComposedIndex, from: string, depth = 0): Promise<IndexChild[]> {
  const { site, name, signal } = merge;
  const { descriptor, bytes } = top;
  if (!isIndex(descriptor.mediaType)) {
    const manifest = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
    // Signatures and other artifacts become no child of an index, whatever their config says.
    if (manifest.kind === 'index' || manifest.config === undefined || !mayRun(manifest)) return [];
    const config = await readContent(site, name, manifest.config, { signal });
    const platform = platformFieldsOfConfig(config, `config of ${from}`);
    return platform === undefined ? [] : [childOf(descriptor, from, platform)];
  }
  const leaves: IndexChild[] = [];
  for (const child of childrenOf({ descriptor, bytes, from })) {
    if (!isIndex(child.descriptor.mediaType) || depth >= maxDepth) leaves.push(child);
    else {
      const nested = await readIfThere(merge, child.descriptor);
      if (nested !== undefined) leaves.push(...(await leavesOf(merge, nested, from, depth + 1)));
    }
  }
  return leaves;
}

/** The nested index of a sparse one may not be there. */
async function readIfThere(merge: TagMerge, descriptor: Descriptor): Promise<ComposedIndex | undefined> {
  try {
    return await readManifest(merge.site, merge.name, descriptor, { signal: merge.signal });
  } catch (error) {
    if (isAirliftError(error, 'not-found')) return undefined;
    throw error;
  }
}

function subjectOf({ descriptor }: IndexChild): string | undefined {
  return descriptor.annotations?.[attestationSubject];
}

/** Of what is there: images for platforms that the new ones are not for, and what belongs to those. */
async function keptOf(
  merge: TagMerge,
  there: readonly IndexChild[],
  coming: readonly IndexChild[],
): Promise<IndexChild[]> {
  const digests = new Set(coming.map(({ descriptor }) => descriptor.digest));
  const places = new Set(coming.flatMap(({ place }) => place ?? []));
  const all = there.filter(({ descriptor }) => !digests.has(descriptor.digest));
  // An index may name what its registry does not have: there is nothing to keep of that.
  const isThere = ({ descriptor }: IndexChild): Promise<boolean> =>
    merge.site.exists(merge.name, descriptor, { signal: merge.signal }).catch((error: unknown) => {
      // What is refused may be there: a platform that the site serves must not be lost.
      if (isRefusedReading(error)) return true;
      throw error;
    });
  const kept: IndexChild[] = [];
  for (const child of all) {
    const isReplaced = child.place !== undefined && places.has(child.place);
    if (subjectOf(child) === undefined && !isReplaced && (await isThere(child))) kept.push(child);
  }
  const described = new Set<string>(kept.map(({ descriptor }) => descriptor.digest));
  for (const child of all)
    if (described.has(subjectOf(child) ?? '') && (await isThere(child))) kept.push(child);
  return kept;
}

/** The publisher's index where it names exactly these: a filtered index that became whole again. */
function wholeAgain(
  original: ComposedIndex | undefined,
  union: readonly IndexChild[],
  from: string,
): ComposedIndex | undefined {
  if (original === undefined) return undefined;
  const digests = new Set(union.map(({ descriptor }) => descriptor.digest));
  const children = childrenOf({ ...original, from });
  const isSame =
    new Set(children.map(({ descriptor }) => descriptor.digest)).size === digests.size &&
    children.every(({ descriptor }) => digests.has(descriptor.digest));
  return isSame ? original : undefined;
}

/**
 * What a tag is to point at so that platforms which only the site has stay: the new image with the site's other children behind
 * its own; the publisher's index where both together are all of it; what is there where nothing new comes; the new image as it
 * is where there is nothing to keep.
 * @throws AirliftError `conflict` where an image is there and what comes is none; what the site throws
 */
export async function mergeWithTag(merge: TagMerge): Promise<ComposedIndex> {
  const { site, name, root, original, signal } = merge;
  const from = formatReference(name);
  const there: ComposedIndex = await readManifest(site, name, merge.there, { signal });
  const coming = await leavesOf(merge, root, 'what is published');
  const held = await leavesOf(merge, there, from);
  const kept = await keptOf(merge, held, coming);
  if (kept.length === 0) return root;
  if (coming.length === 0) {
    throw new AirliftError(
      'conflict',
      `publish ${from}: can't be merged with what is there; got an artifact, want images`,
      { hint: "`onExistingTag: 'overwrite'` replaces it" },
    );
  }
  const heldDigests = new Set(held.map(({ descriptor }) => descriptor.digest));
  if (coming.every(({ descriptor }) => heldDigests.has(descriptor.digest))) return there;
  const whole = wholeAgain(original, [...coming, ...kept], from);
  if (whole !== undefined) return whole;
  const isSingle = !isIndex(root.descriptor.mediaType);
  const draft = isSingle
    ? IndexDraft.create()
    : IndexDraft.of({ descriptor: root.descriptor, bytes: root.bytes, from: 'what is published' });
  for (const child of isSingle ? inPlatformOrder([...coming, ...kept]) : kept) draft.add(child);
  return draft.finish();
}
