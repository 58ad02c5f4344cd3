import { AirliftError } from '../errors.js';
import type { IndexSource, LoadedSource } from './sources.js';
import { IndexDraft, type IndexKind } from '../oci/compose.js';
import type { Digest } from '../oci/digest.js';
import type { IndexChild } from '../oci/index-child.js';
import { attestationSubject } from '../oci/manifest.js';
import { mergeIndexes } from '../oci/merge-indexes.js';
import { formatPlatform, samePlatform, type Platform } from '../oci/platform.js';
import { TaggedIndex, type IndexFieldOptions, type IndexOptions, type IndexSummary } from './tagged-index.js';

export interface CreateIndexOptions extends IndexOptions, IndexFieldOptions {
  readonly sources: readonly IndexSource[];
  readonly kind?: IndexKind | undefined;
  /** An index among the sources is one child itself, instead of its children. */
  readonly nest?: boolean | undefined;
}

export interface AppendOptions extends IndexOptions, IndexFieldOptions {
  readonly sources: readonly IndexSource[];
  /** Put a source in the place of another image for its platform. */
  readonly replace?: boolean | undefined;
  readonly nest?: boolean | undefined;
}

export interface RemoveOptions extends IndexOptions {
  /** The children to take out, by digest or by platform. */
  readonly children: readonly (Digest | Platform)[];
}

export interface MergeOptions extends IndexOptions {
  readonly sources: readonly IndexSource[];
  readonly kind?: IndexKind | undefined;
}

async function onIndex(
  options: IndexOptions & { readonly nest?: boolean | undefined },
  work: (target: TaggedIndex) => Promise<IndexSummary>,
): Promise<IndexSummary> {
  const target = new TaggedIndex(options, options.nest);
  try {
    return await work(target);
  } finally {
    await target.close();
  }
}

/** Adds what was loaded, with its annotations. */
function addAll(draft: IndexDraft, loaded: readonly LoadedSource[], replace?: boolean): void {
  for (const { source, children } of loaded) {
    for (const child of children) {
      draft.add(child, { replace });
      const { annotations = {} } = source;
      const isAttestation = child.descriptor.annotations?.[attestationSubject] !== undefined;
      if (Object.keys(annotations).length > 0 && !isAttestation)
        draft.annotateChild(child.descriptor.digest, annotations);
    }
  }
}

/**
 * Makes an index of images, in their order, and lets the tag point at it. What is in other repositories is copied first.
 * @throws AirliftError `conflict` where two images are for one platform; `usage` where a platform has to be said; what the
 *   registry throws
 */
export function createIndex(options: CreateIndexOptions): Promise<IndexSummary> {
  return onIndex(options, async (target) => {
    await target.replacing();
    const draft = IndexDraft.create(options.kind);
    addAll(draft, await target.loadAll(options.sources));
    await target.setFields(draft, options);
    return target.write(draft.finish(), draft.children);
  });
}

/**
 * Adds images to the index that a tag points at. Its other children are neither read nor written; all its fields stay.
 * @throws AirliftError as `createIndex`; `conflict` too where somebody else changed the tag meanwhile
 */
export function appendToIndex(options: AppendOptions): Promise<IndexSummary> {
  const { sources, annotations = {}, artifactType, subject } = options;
  const isEmpty = sources.length === 0 && Object.keys(annotations).length === 0;
  return onIndex(options, async (target) => {
    if (isEmpty && artifactType === undefined && subject === undefined) {
      throw new AirliftError('usage', `append to index ${target.name}: nothing to add`, {
        hint: 'name images to add, or a field of the index with `annotations` KEY=VALUE',
      });
    }
    const draft = IndexDraft.of(await target.existing());
    addAll(draft, await target.loadAll(options.sources), options.replace);
    await target.setFields(draft, options);
    return target.write(draft.finish(), draft.children);
  });
}

/**
 * Takes children, and their attestations, out of the index that a tag points at. The registry keeps what they are made of.
 * @throws AirliftError `not-found` where the index has no such child; `usage` where none would be left; what the registry throws
 */
export function removeFromIndex(options: RemoveOptions): Promise<IndexSummary> {
  return onIndex(options, async (target) => {
    const draft = IndexDraft.of(await target.existing());
    draft.remove(digestsOf(options.children, draft.children, target.name));
    if (draft.children.length === 0) {
      throw new AirliftError('usage', `remove from index ${target.name}: no children would be left`, {
        hint: 'to remove the whole image, delete its tag in the registry',
      });
    }
    return target.write(draft.finish(), draft.children);
  });
}

function digestsOf(
  wanted: readonly (Digest | Platform)[],
  children: readonly IndexChild[],
  name: string,
): Set<Digest> {
  const found = new Set<Digest>();
  for (const want of wanted) {
    const matching = children.filter(({ descriptor: { digest, platform } }) =>
      typeof want === 'string' ? digest === want : platform !== undefined && samePlatform(want, platform),
    );
    if (matching.length === 0) {
      const there = children.map(({ descriptor: { digest, platform } }) =>
        platform === undefined || typeof want === 'string' ? digest : formatPlatform(platform),
      );
      throw new AirliftError(
        'not-found',
        `remove from index ${name}: no such child; got ${there.join(', ')}, want ${typeof want === 'string' ? want : formatPlatform(want)}`,
      );
    }
    for (const { descriptor } of matching) found.add(descriptor.digest);
  }
  return found;
}

/**
 * Lets a tag point at the union of indexes and images: at one of them, byte for byte, where it holds all of it already.
 * @throws AirliftError as `createIndex`
 */
export function mergeIntoIndex(options: MergeOptions): Promise<IndexSummary> {
  return onIndex(options, async (target) => {
    await target.replacing();
    const loaded = await target.loadAll(options.sources);
    const indexes = loaded.flatMap(({ index, source }) =>
      index === undefined || source.platform !== undefined ? [] : [index],
    );
    const images = loaded.flatMap(({ index, source, children }) =>
      index === undefined || source.platform !== undefined ? children : [],
    );
    const merged = mergeIndexes({ indexes, images }, options.kind);
    const { children } = IndexDraft.of({ ...merged, from: target.name });
    return target.write(merged, children);
  });
}
