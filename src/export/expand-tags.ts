import { AirliftError, firstLines, maxProblemsShown } from '../errors.js';
import { maxReferences } from '../lists/collector.js';
import { placeOf, type ImageList, type ListedReference, type Place } from '../lists/listed.js';
import { parseTagPattern, selectTags } from '../lists/tags.js';
import { formatReference, formatRepository, type Repository } from '../oci/reference.js';
import { forEachOf } from '../concurrency.js';

const lookups = 8;

export interface ExpandOptions {
  /** Put in the place of the tag of every reference that names neither tag nor digest: `semver:…`, `regex:…` or `all`. */
  readonly pattern?: string | undefined;
  /** The tags of a repository, in any order. */
  readonly tags: (repository: Repository) => AsyncIterable<string>;
}

/** A repository, the pattern for its tags, and where in a list both stand. */
interface Wanted extends Place {
  readonly repository: Repository;
  readonly pattern: string;
  readonly from?: ListedReference | undefined;
}

async function select(wanted: Wanted, tags: ExpandOptions['tags']): Promise<ListedReference[] | string> {
  const all: string[] = [];
  const { repository, pattern, from, file, line } = wanted;
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
    return `${placeOf(wanted)}: none of the ${all.length} tags of ${formatRepository(repository)} fits ${pattern}`;
  return selected.map((tag) => {
    const reference = { registry: repository.registry, repository: repository.repository, tag };
    return { file, line, ...from, reference, text: formatReference(reference), tagAssumed: false };
  });
}

/**
 * Puts the tags that a registry has in the place of tag patterns: those of lists, and `--tags` for references without a
 * tag. The order is that of the lists, then the versions'.
 * @throws AirliftError `not-found` that tells every repository without a fitting tag, `usage` where a pattern is given and
 *   every reference has a tag; and what looking up tags throws
 */
export async function expandTags(list: ImageList, options: ExpandOptions): Promise<ListedReference[]> {
  const { pattern } = options;
  if (pattern !== undefined) parseTagPattern(pattern);
  const entries: (ListedReference | Wanted)[] = list.references.map((listed) =>
    pattern !== undefined && listed.tagAssumed
      ? { file: listed.file, line: listed.line, repository: listed.reference, pattern, from: listed }
      : listed,
  );
  entries.push(...list.patterns);
  if (pattern !== undefined && !entries.some((entry) => 'pattern' in entry)) {
    throw new AirliftError('usage', `choose tags by ${pattern}: every image has a tag or digest already`);
  }
  const found: ListedReference[][] = [];
  const misses: string[] = [];
  await forEachOf(entries.entries(), lookups, async ([at, entry]) => {
    const selected = 'pattern' in entry ? await select(entry, options.tags) : [entry];
    if (typeof selected === 'string') misses[at] = selected;
    else found[at] = selected;
  });
  const problems = misses.filter((miss) => miss !== undefined);
  if (problems.length > 0) {
    const lines = firstLines(problems, maxProblemsShown);
    throw new AirliftError('not-found', 'choose tags: nothing fits', { lines });
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
