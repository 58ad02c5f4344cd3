import { forEachOf } from '../concurrency.js';
import { AirliftError, firstLines, maxProblemsShown } from '../errors.js';
import { maxReferences } from '../lists/collector.js';
import { placeOf, type ImageList, type ListedReference, type Place } from '../lists/listed.js';
import { parseTagPattern, selectTags } from '../lists/tags.js';
import { formatReference, formatRepository, type Repository } from '../oci/reference.js';

/** Repositories whose tags are listed at the same time. */
const concurrency = 8;

export interface ExpandOptions {
  /** Tag pattern for references that have neither tag nor digest: `semver:…`, `regex:…` or `all`. */
  readonly pattern?: string | undefined;
  /** Lists the tags of a repository, in any order. */
  readonly tags: (repository: Repository) => AsyncIterable<string>;
}

/** A repository with a tag pattern, and its place in a list. */
interface TagRequest extends Place {
  readonly repository: Repository;
  readonly pattern: string;
  readonly from?: ListedReference | undefined;
}

/** @returns the matching tags, or the problem if none matches */
async function selectFrom(
  request: TagRequest,
  tags: ExpandOptions['tags'],
): Promise<ListedReference[] | string> {
  const all: string[] = [];
  const { repository, pattern, from, file, line } = request;
  for await (const tag of tags(repository)) {
    if (all.length >= maxReferences) {
      throw new AirliftError(
        'registry',
        `list tags of ${formatRepository(repository)}: more than ${maxReferences}`,
      );
    }
    all.push(tag);
  }
  const selected = selectTags(parseTagPattern(pattern), all);
  if (selected.length === 0)
    return `${placeOf(request)}: none of the ${all.length} tags of ${formatRepository(repository)} matches ${pattern}`;
  return selected.map((tag) => {
    const reference = { registry: repository.registry, repository: repository.repository, tag };
    return { file, line, ...from, reference, text: formatReference(reference), tagAssumed: false };
  });
}

/**
 * Replaces tag patterns, those of lists and `pattern` for references without a tag, by the matching tags of the registry. The result keeps
 * the order of the lists; tags of one pattern are in version order.
 * @throws AirliftError `not-found` with every repository that has no matching tag, `usage` if `pattern` is given but every reference has a
 *   tag or digest; as listing tags does
 */
export async function expandTags(list: ImageList, options: ExpandOptions): Promise<ListedReference[]> {
  const { pattern } = options;
  if (pattern !== undefined) parseTagPattern(pattern);
  const entries: (ListedReference | TagRequest)[] = list.references.map((listed) =>
    pattern !== undefined && listed.tagAssumed
      ? { file: listed.file, line: listed.line, repository: listed.reference, pattern, from: listed }
      : listed,
  );
  entries.push(...list.patterns);
  if (pattern !== undefined && !entries.some((entry) => 'pattern' in entry)) {
    throw new AirliftError('usage', `choose tags by ${pattern}: every image already has a tag or digest`);
  }
  const found: ListedReference[][] = [];
  const problemAt: string[] = [];
  await forEachOf(entries.entries(), concurrency, async ([at, entry]) => {
    const selected = 'pattern' in entry ? await selectFrom(entry, options.tags) : [entry];
    if (typeof selected === 'string') problemAt[at] = selected;
    else found[at] = selected;
  });
  const problems = problemAt.filter((problem) => problem !== undefined);
  if (problems.length > 0) {
    const lines = firstLines(problems, maxProblemsShown);
    throw new AirliftError('not-found', 'choose tags: no tag matches', { lines });
  }
  const unique = new Map<string, ListedReference>();
  for (const listed of found.flat()) {
    const name = formatReference(listed.reference);
    if (!unique.has(name)) unique.set(name, listed);
    if (unique.size > maxReferences)
      throw new AirliftError('usage', `choose tags: more than ${maxReferences} images`);
  }
  return [...unique.values()];
}
