import { AirliftError } from '../errors.js';
import { IndexDraft, type ComposedIndex, type IndexKind } from './compose.js';
import { childrenOf, inPlatformOrder, type ExistingIndex, type IndexChild } from './index-child.js';
import { parseManifest } from './manifest.js';

/** The parts of a merged index: indexes with all their children, and single images. */
export interface MergeInputs {
  readonly indexes: readonly ExistingIndex[];
  readonly images: readonly IndexChild[];
}

/** Sorts indexes by their number of children, largest first; equal ones by digest. */
function largestFirst(indexes: readonly ExistingIndex[]): ExistingIndex[] {
  const sized = indexes.map((index) => ({ index, size: childrenOf(index).length }));
  const digest = ({ index }: { index: ExistingIndex }): string => index.descriptor.digest;
  sized.sort((a, b) => b.size - a.size || (digest(a) < digest(b) ? -1 : 1));
  return sized.map(({ index }) => index);
}

/** Adds fields of the other indexes that the first one lacks. */
function addFields(draft: IndexDraft, indexes: readonly ExistingIndex[]): void {
  const [first, ...others] = indexes.map((index) => ({
    from: index.from,
    ...parseManifest(index.bytes, index.descriptor.mediaType, `index ${index.from}`),
  }));
  if (first === undefined) return;
  const annotations: Record<string, string> = {};
  const origins = { artifactType: first, subject: first };
  for (const other of others) {
    for (const [key, value] of Object.entries(other.annotations ?? {}))
      if (first.annotations?.[key] === undefined) annotations[key] ??= value;
    for (const name of ['artifactType', 'subject'] as const) {
      const [had, got] = [textOf(origins[name][name]), textOf(other[name])];
      if (got === undefined) continue;
      if (had !== undefined && had !== got) {
        throw new AirliftError(
          'conflict',
          `merge indexes: two values of ${name}; got ${had} of ${origins[name].from} and ${got} of ${other.from}`,
        );
      }
      origins[name] = other;
    }
  }
  draft.setFields({
    annotations,
    artifactType: first.artifactType === undefined ? origins.artifactType.artifactType : undefined,
    subject: first.subject === undefined ? origins.subject.subject : undefined,
  });
}

function textOf(field: string | { readonly digest: string } | undefined): string | undefined {
  return typeof field === 'object' ? field.digest : field;
}

/**
 * Merges indexes and images into one index, independent of their order. If one of the indexes contains everything, the result is
 * that index, byte for byte. Else the largest one gets what it lacks: children at its end, and annotations of the index and its
 * children. Without any index, creates a new one.
 * @param kind the kind of index to create if there is none
 * @throws AirliftError `conflict` if two images have the same platform, or an image has two; `input` if an index is malformed;
 *   `usage` if there is nothing to merge
 */
export function mergeIndexes({ indexes, images }: MergeInputs, kind: IndexKind = 'auto'): ComposedIndex {
  const candidates = largestFirst(indexes);
  const children = inPlatformOrder([...candidates.flatMap(childrenOf), ...images]);
  const drafts = candidates.map((index) => {
    const draft = IndexDraft.of(index);
    for (const child of children) draft.add(child);
    return draft;
  });
  const whole = drafts.find((draft) => !draft.isChanged);
  if (whole !== undefined) return whole.finish();
  const [draft] = drafts;
  if (draft !== undefined) {
    addFields(draft, candidates);
    return draft.finish();
  }
  const created = IndexDraft.create(kind);
  for (const child of children) created.add(child);
  return created.finish();
}
