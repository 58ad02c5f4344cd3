import { AirliftError } from '../errors.js';
import type { IndexSource, LoadedSource } from './sources.js';
import { IndexDraft, type IndexKind } from '../oci/compose.js';
import type { Digest } from '../oci/digest.js';
import type { IndexChild } from '../oci/index-child.js';
import { attestationSubject } from '../oci/manifest.js';
import { mergeIndexes } from '../oci/merge-indexes.js';
import { formatPlatform, samePlatform, type Platform } from '../oci/platform.js';
import { TaggedIndex, type IndexFieldOptions, type IndexOptions, type IndexSummary } from './tagged-index.js';

/** Options of `createIndex`. */
export interface CreateIndexOptions extends IndexOptions, IndexFieldOptions {
  /** Images and indexes to list, in this order. */
  readonly sources: readonly IndexSource[];
  /** Media type of the index; default `auto`: that of the sources. */
  readonly kind?: IndexKind | undefined;
  /** List an index among the sources as one child, instead of its children. Default false. */
  readonly nest?: boolean | undefined;
}

/** Options of `appendToIndex`. */
export interface AppendOptions extends IndexOptions, IndexFieldOptions {
  /** Images and indexes to add, in this order. */
  readonly sources: readonly IndexSource[];
  /** Replace a child that has the same platform as a source. Default false: that is a conflict. */
  readonly replace?: boolean | undefined;
  /** List an index among the sources as one child, instead of its children. Default false. */
  readonly nest?: boolean | undefined;
}

/** Options of `removeFromIndex`. */
export interface RemoveOptions extends IndexOptions {
  /** Children to remove, by digest or by platform. */
  readonly children: readonly (Digest | Platform)[];
}

/** Options of `mergeIntoIndex`. */
export interface MergeOptions extends IndexOptions {
  /** Images and indexes to merge; earlier sources come first. */
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

/** Adds loaded sources with their annotations. */
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
 * Creates an index of images in the given order and tags it. First copies images that are in other repositories.
 * @throws AirliftError `conflict` if two images have the same platform; `usage` if the platform of an image cannot be determined; errors
 *   of the registry
 */
export function createIndex(options: CreateIndexOptions): Promise<IndexSummary> {
  return onIndex(options, async (target) => {
    await target.recordPrevious();
    const draft = IndexDraft.create(options.kind);
    addAll(draft, await target.loadAll(options.sources));
    await target.setFields(draft, options);
    return target.write(draft.finish(), draft.children);
  });
}

/**
 * Adds images to an existing index. Neither reads nor writes its other children, and keeps all its fields.
 * @throws AirliftError as `createIndex`; also `conflict` if another client changed the tag at the same time
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
 * Removes children and their attestations from an existing index. The registry keeps their content.
 * @throws AirliftError `not-found` if the index has no such child; `usage` if no child would be left; errors of the registry
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
      const available = children.map(({ descriptor: { digest, platform } }) =>
        platform === undefined || typeof want === 'string' ? digest : formatPlatform(platform),
      );
      throw new AirliftError(
        'not-found',
        `remove from index ${name}: no such child; got ${available.join(', ')}, want ${typeof want === 'string' ? want : formatPlatform(want)}`,
      );
    }
    for (const { descriptor } of matching) found.add(descriptor.digest);
  }
  return found;
}

/**
 * Tags the union of indexes and images. If one of them holds the whole union, tags it unchanged.
 * @throws AirliftError as `createIndex`
 */
export function mergeIntoIndex(options: MergeOptions): Promise<IndexSummary> {
  return onIndex(options, async (target) => {
    await target.recordPrevious();
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
