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

/** The new target of a tag and its present one. The site holds all content of both. */
export interface TagMerge {
  readonly site: SiteRegistry;
  readonly name: Reference;
  /** The present target of the tag. */
  readonly existing: Descriptor;
  /** The manifest or index to publish. */
  readonly root: ComposedIndex;
  /** The publisher's index, if `root` is a filtered copy of it. */
  readonly original?: ComposedIndex | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Returns the images below a manifest or index, including those of nested indexes, with all fields of their entries. */
async function leavesOf(merge: TagMerge, top: ComposedIndex, from: string, depth = 0): Promise<IndexChild[]> {
  const { site, name, signal } = merge;
  const { descriptor, bytes } = top;
  if (!isIndex(descriptor.mediaType)) {
    const manifest = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
    // Signatures and other artifacts do not become children of an index, even if their config names a platform.
    if (manifest.kind === 'index' || manifest.config === undefined || !mayRun(manifest)) return [];
    const config = await readContent(site, name, manifest.config, { signal });
    const platform = platformFieldsOfConfig(config, `config of ${from}`);
    return platform === undefined ? [] : [childOf(descriptor, from, platform)];
  }
  const leaves: IndexChild[] = [];
  for (const child of childrenOf({ descriptor, bytes, from })) {
    if (!isIndex(child.descriptor.mediaType) || depth >= maxDepth) leaves.push(child);
    else {
      const nested = await readIfPresent(merge, child.descriptor);
      if (nested !== undefined) leaves.push(...(await leavesOf(merge, nested, from, depth + 1)));
    }
  }
  return leaves;
}

/** Reads a nested index; undefined if the site lacks it, as with the children of a sparse index. */
async function readIfPresent(merge: TagMerge, descriptor: Descriptor): Promise<ComposedIndex | undefined> {
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

/** Returns the existing images for platforms that no new image is for, and the attestations of these images. */
async function keptOf(
  merge: TagMerge,
  existing: readonly IndexChild[],
  added: readonly IndexChild[],
): Promise<IndexChild[]> {
  const digests = new Set(added.map(({ descriptor }) => descriptor.digest));
  const places = new Set(added.flatMap(({ place }) => place ?? []));
  const all = existing.filter(({ descriptor }) => !digests.has(descriptor.digest));
  // An index may list children that its registry does not have: these cannot be kept.
  const isPresent = ({ descriptor }: IndexChild): Promise<boolean> =>
    merge.site.exists(merge.name, descriptor, { signal: merge.signal }).catch((error: unknown) => {
      // The registry may have a child that it refuses to show; a platform that the site serves must not get lost.
      if (isRefusedReading(error)) return true;
      throw error;
    });
  const kept: IndexChild[] = [];
  for (const child of all) {
    const isReplaced = child.place !== undefined && places.has(child.place);
    if (subjectOf(child) === undefined && !isReplaced && (await isPresent(child))) kept.push(child);
  }
  const described = new Set<string>(kept.map(({ descriptor }) => descriptor.digest));
  for (const child of all)
    if (described.has(subjectOf(child) ?? '') && (await isPresent(child))) kept.push(child);
  return kept;
}

/** Returns the publisher's index if it lists exactly these children: the filtered index is complete again. */
function completeOriginal(
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
 * Returns the target for a tag that keeps the platforms which only the site has:
 *
 * - the new image, if there is nothing to keep
 * - the existing index, if the new image adds nothing
 * - the publisher's index, if new and existing children together are all of its children
 * - else the new image with the site's other children appended
 *
 * @throws AirliftError `conflict` if the tag names images and the new content is an artifact; what the site throws
 */
export async function mergeWithTag(merge: TagMerge): Promise<ComposedIndex> {
  const { site, name, root, original, signal } = merge;
  const from = formatReference(name);
  const existing: ComposedIndex = await readManifest(site, name, merge.existing, { signal });
  const added = await leavesOf(merge, root, 'the new image');
  const held = await leavesOf(merge, existing, from);
  const kept = await keptOf(merge, held, added);
  if (kept.length === 0) return root;
  if (added.length === 0) {
    throw new AirliftError(
      'conflict',
      `publish ${from}: cannot merge an artifact into an index of images; got an artifact, want images`,
      { hint: "`onExistingTag: 'overwrite'` replaces it" },
    );
  }
  const heldDigests = new Set(held.map(({ descriptor }) => descriptor.digest));
  if (added.every(({ descriptor }) => heldDigests.has(descriptor.digest))) return existing;
  const whole = completeOriginal(original, [...added, ...kept], from);
  if (whole !== undefined) return whole;
  const isSingle = !isIndex(root.descriptor.mediaType);
  const draft = isSingle
    ? IndexDraft.create()
    : IndexDraft.of({ descriptor: root.descriptor, bytes: root.bytes, from: 'the new image' });
  for (const child of isSingle ? inPlatformOrder([...added, ...kept]) : kept) draft.add(child);
  return draft.finish();
}
