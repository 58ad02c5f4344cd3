import { AirliftError } from '../errors.js';
import { IndexDraft, type ComposedIndex, type IndexKind } from './compose.js';
import { childrenOf, inPlatformOrder, type ExistingIndex, type IndexChild } from './index-child.js';
import { parseManifest } from './manifest.js';

/** What is merged into one index: indexes with all their children, and images that stand alone. */
export interface MergeInputs {
  readonly indexes: readonly ExistingIndex[];
  readonly images: readonly IndexChild[];
}

/** Those with the most children first; of equals, the one with the lowest digest. */
function largestFirst(indexes: readonly ExistingIndex[]): ExistingIndex[] {
  const sized = indexes.map((index) => ({ index, size: childrenOf(index).length }));
  const digest = ({ index }: { index: ExistingIndex }): string => index.descriptor.digest;
  sized.sort((a, b) => b.size - a.size || (digest(a) < digest(b) ? -1 : 1));
  return sized.map(({ index }) => index);
}

/** Adds what the other indexes say of themselves and the first does not. */
function addFields(draft: IndexDraft, indexes: readonly ExistingIndex[]): void {
  const [first, ...others] = indexes.map((index) => ({
    from: index.from,
    ...parseManifest(index.bytes, index.descriptor.mediaType, `index ${index.from}`),
  }));
  if (first === undefined) return;
  const annotations: Record<string, string> = {};
  const told = { artifactType: first, subject: first };
  for (const other of others) {
    for (const [key, value] of Object.entries(other.annotations ?? {}))
      if (first.annotations?.[key] === undefined) annotations[key] ??= value;
    for (const name of ['artifactType', 'subject'] as const) {
      const [had, got] = [said(told[name][name]), said(other[name])];
      if (got === undefined) continue;
      if (had !== undefined && had !== got) {
        throw new AirliftError(
          'conflict',
          `merge indexes: two values of ${name}; got ${had} of ${told[name].from} and ${got} of ${other.from}`,
        );
      }
      told[name] = other;
    }
  }
  draft.setFields({
    annotations,
    artifactType: first.artifactType === undefined ? told.artifactType.artifactType : undefined,
    subject: first.subject === undefined ? told.subject.subject : undefined,
  });
}

function said(field: string | { readonly digest: string } | undefined): string | undefined {
  return typeof field === 'object' ? field.digest : field;
}

/**
 * Merges indexes and images into one index, whatever order they come in. Where one of the indexes holds everything already, it
 * is the result, byte for byte. Else the largest one gets what it lacks: children at its end, annotations of the index and of
 * children where it has none of that name. Without any index, a new one is made.
 * @param kind what to make where there is no index to begin with
 * @throws AirliftError `conflict` where two images are for one platform, or an image is said to be for two; `input` where an
 *   index is malformed; `usage` where there is nothing to merge
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
