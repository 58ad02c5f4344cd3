import { AirliftError } from '../errors.js';
import { isDigest } from '../oci/digest.js';
import { formatReference, formatRepository, parseReference } from '../oci/reference.js';
import { quoted } from '../oci/quoted.js';
import type { Site, SiteName } from './names.js';

/** Path of the table of names; later runs read it. */
export const tablePath = 'names.tsv';

const maxRows = 200_000;

/**
 * Parses the table of names of an earlier run.
 * @param file name in messages
 * @throws AirliftError `usage` with the line if the text is not such a table
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
 * Joins the names of earlier runs with those of this run. A new name replaces an earlier one for the same source.
 * @param file the table of the earlier names, for messages
 * @throws AirliftError `usage` if the earlier names are for another registry; `conflict` if a new name would take the tag of an
 *   earlier name
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
      `emit names: ${file} is for another registry; got ${site.registry}, want ${elsewhere.site.registry}`,
      { hint: 'give `earlier` another directory, one for each registry' },
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
        `${source}: nodes now find it at ${site.registry}/${target}, no longer at ${formatRepository(name.site)}`,
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
        `${formatReference(other.site)} is ${formatReference(name.source)} (${name.digest}) and would become ${formatReference(other.source)} (${other.digest})`,
      );
    kept.push(name);
  }
  if (conflicts.length > 0)
    throw new AirliftError(
      'conflict',
      `emit names: ${conflicts.length} new ${conflicts.length === 1 ? 'name' : 'names'} would take the tag of a name in ${file}`,
      {
        lines: conflicts.slice(0, 50),
        hint: 'keep their registries apart with `keepRegistry`, or give one of them another path with `rules`',
      },
    );
  return { names: [...kept, ...names], notes: [...moved] };
}
