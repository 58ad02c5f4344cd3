import { isDigest } from '../../oci/digest.js';
import type { TarEntry } from '../format/entry-reader.js';
import { kindOfEntry, type Findings } from './findings.js';
import { digestOfPath } from '../../oci/image-layout.js';
import { entryNames } from '../format/format.js';
import { readSums, type HeadDigests } from '../format/sums.js';

/**
 * Checks the lists of digests: each line must be right, and every entry must have one.
 * @param digests of the head's entries, shared with the other checks of these entries
 */
export async function checkSums(digests: HeadDigests, findings: Findings): Promise<void> {
  const { head } = digests;
  const listed = new Set<string>();
  for (const name of [entryNames.sha256sums, entryNames.sha512sums]) {
    const entry = head.entries.get(name);
    if (entry !== undefined) await checkList(digests, entry, listed, findings);
  }
  if (!head.entries.has(entryNames.sha256sums)) return;
  for (const name of head.entries.keys()) {
    if (name !== entryNames.sha256sums && name !== entryNames.signature && !listed.has(name))
      findings.report('sums', entryNames.sha256sums, `does not list ${name}`);
  }
  const unlisted = findings.database
    .prepare(
      'SELECT digest FROM blobs WHERE listed = 0 AND left_out = 0 AND (position IS NOT NULL OR state IS NOT NULL)',
    )
    .pluck()
    .all() as string[];
  for (const digest of unlisted) findings.report('sums', entryNames.sha256sums, `does not list ${digest}`);
}

async function checkList(
  digests: HeadDigests,
  list: TarEntry,
  listed: Set<string>,
  findings: Findings,
): Promise<void> {
  const { file, head } = digests;
  const markListed = findings.database.prepare(
    'UPDATE blobs SET listed = 1 WHERE digest = ? AND (position IS NOT NULL OR state IS NOT NULL)',
  );
  const hexLength = list.name === entryNames.sha512sums ? 128 : 64;
  let number = 0;
  for await (const line of readSums(file, list)) {
    number++;
    if (line === undefined) {
      findings.report('sums', list.name, `line ${number} is malformed`);
      continue;
    }
    const { name, hex } = line;
    if (hex.length !== hexLength) {
      findings.report(
        'sums',
        list.name,
        `line ${number}: wrong digest length; got ${hex.length} hex digits, want ${hexLength}`,
      );
      continue;
    }
    const digest = digestOfPath(name);
    if (digest !== undefined) {
      if (!digest.endsWith(`:${hex}`))
        findings.report('sums', list.name, `line ${number} has the wrong digest for ${name}`);
      else if (markListed.run(digest).changes === 0)
        findings.report('missing', name, `listed in ${list.name} but not in the archive`, digest);
      continue;
    }
    const entry = head.entries.get(name);
    if (listed.has(name))
      findings.report('sums', list.name, `line ${number} lists ${JSON.stringify(name)} again`);
    listed.add(name);
    if (entry === undefined) {
      findings.report(
        'sums',
        list.name,
        `line ${number} lists ${JSON.stringify(name)}, which is not in the archive`,
      );
      continue;
    }
    const got = await digests.sha256Of(name, entry);
    // Opening the catalog has checked its digest already.
    if (got !== hex && isDigest(`sha256:${hex}`) && name !== entryNames.catalog)
      findings.report(kindOfEntry(name), name, `digest mismatch; got sha256:${got}, want sha256:${hex}`);
  }
}
