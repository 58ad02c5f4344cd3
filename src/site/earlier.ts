import { AirliftError } from '../errors.js';
import { isDigest } from '../oci/digest.js';
import { formatReference, formatRepository, parseReference } from '../oci/reference.js';
import { quoted } from '../oci/quoted.js';
import type { Site, SiteName } from './names.js';

/** Path of the table of names, which later runs read again. */
export const tablePath = 'names.tsv';

const maxRows = 200_000;

/**
 * Reads the table of names that an earlier run wrote.
 * @param file what messages call it
 * @throws AirliftError `usage` that names the line where it is no such table
 */
export function parseTable(text: string, file: string): SiteName[] {
  const rows = text.split('\n').filter((line) => line !== '');
  if (rows.length > maxRows) throw new AirliftError('usage', `read ${file}: more than ${maxRows} names`);
  return rows.slice(1).map((row, at) => {
    const [source = '', site = '', digest = ''] = row.trimEnd().split('\t');
    try {
      if (!isDigest(digest)) throw new AirliftError('usage', `${quoted(digest)} is not a digest`);
      return { source: parseReference(source), site: parseReference(site), digest };
    } catch (cause) {
      const happened = cause instanceof AirliftError ? cause.message : 'not a name';
      throw new AirliftError('usage', `read ${file}:${at + 2}: ${happened}; want source, site and digest`, {
        cause,
        hint: 'give `earlier` another directory',
      });
    }
  });
}

/**
 * The names of earlier runs and of this one: what nodes found keeps its place, what is named again gets the new one.
 * @param file the table that the earlier names come from, for messages
 * @throws AirliftError `usage` where they are at another registry, `conflict` where a tag would pass to an image of another name
 */
export function joinNames(
  site: Site,
  earlier: readonly SiteName[],
  names: readonly SiteName[],
  file: string,
): { names: SiteName[]; notes: string[] } {
  const elsewhere = earlier.find((name) => name.site.registry !== site.registry);
  if (elsewhere !== undefined)
    throw new AirliftError(
      'usage',
      `emit names: ${file} holds names at ${elsewhere.site.registry}; got names at ${site.registry}`,
      { hint: 'give `earlier` another directory: one is for one registry' },
    );
  const targets = new Map(
    names.map(({ source, site: { repository } }) => [formatRepository(source), repository]),
  );
  const tags = new Map(names.map((name) => [formatReference({ ...name.site, digest: undefined }), name]));
  const named = new Set(names.map(({ source }) => formatReference(source)));
  const kept: SiteName[] = [];
  const moved = new Set<string>();
  const conflicts: string[] = [];
  for (const name of earlier) {
    const source = formatRepository(name.source);
    const target = targets.get(source);
    if (target !== undefined && target !== name.site.repository) {
      moved.add(
        `${source}: nodes find it at ${site.registry}/${target} from now on, no longer at ${formatRepository(name.site)}`,
      );
      continue;
    }
    if (named.has(formatReference(name.source))) continue;
    const other =
      name.site.tag === undefined
        ? undefined
        : tags.get(formatReference({ ...name.site, digest: undefined }));
    if (other !== undefined && other.digest !== name.digest && formatRepository(other.source) !== source)
      conflicts.push(
        `${formatReference(other.site)} is ${formatReference(name.source)} (${name.digest}) and would be ${formatReference(other.source)} (${other.digest})`,
      );
    kept.push(name);
  }
  if (conflicts.length > 0)
    throw new AirliftError(
      'conflict',
      `emit names: ${conflicts.length} would take a tag from a name in ${file}`,
      {
        lines: conflicts.slice(0, 50),
        hint: 'keep their registries apart with `keepRegistry`, or give one of them another path with `rules`',
      },
    );
  return { names: [...kept, ...names], notes: [...moved] };
}
