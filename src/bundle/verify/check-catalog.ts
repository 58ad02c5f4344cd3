import { createHash } from 'node:crypto';
import type { Digest } from '../../oci/digest.js';
import type { Catalog } from '../format/catalog.js';
import type { BundleFile } from '../format/file.js';
import { checkManifestRows } from './check-rows.js';
import { kindOfEntry, type Findings } from './findings.js';
import { entryNames } from '../format/format.js';
import { layoutContent } from '../../oci/image-layout.js';
import { blobLines, indexJson, sumsLines } from '../format/head-content.js';
import type { HeadDigests } from '../format/sums.js';

/** The most blobs to report for each kind of contradiction. */
const maxReported = 200;

/**
 * Compares the catalog, row by row, with the manifests that it describes, which are proven by their digests. Import believes the catalog: it
 * would, for example, never publish a referrer without a subject.
 */
export async function checkCatalogRows(
  file: BundleFile,
  catalog: Catalog,
  findings: Findings,
): Promise<void> {
  await checkManifestRows(file, catalog, findings);
  for (const [detail, sql] of contradictions) {
    const digests = findings.database.prepare(`${sql} LIMIT ${maxReported}`).pluck().all() as Digest[];
    for (const digest of digests)
      findings.report('catalog', entryNames.catalog, `${digest} ${detail}`, digest);
  }
}

/** Contradictions between the catalog and the manifests: a predicate, and the query for the digests that it applies to. */
const contradictions: readonly (readonly [detail: string, sql: string])[] = [
  [
    'is of another kind in the catalog than the content or the manifests that name it say',
    // Damage of the manifests that name a blob is reported with them, and `checkManifestRows` tells an index from a manifest.
    `SELECT digest FROM blobs LEFT JOIN facts ON facts.blob = blobs.id WHERE (position IS NOT NULL OR left_out > 0)
      AND CASE
        WHEN facts.kind IS NOT NULL THEN blobs.kind NOT IN ('index', 'manifest')
        WHEN blobs.kind IN ('index', 'manifest') THEN state = 'ok'
        ELSE (blobs.kind = 'config') <> EXISTS (SELECT 1 FROM edges WHERE child = blobs.id AND source = 'manifest' AND role = 'config')
          AND EXISTS (SELECT 1 FROM edges WHERE child = blobs.id AND source = 'manifest' AND role <> 'subject')
          AND NOT EXISTS (SELECT 1 FROM edges JOIN blobs AS parent ON parent.id = edges.parent
            WHERE child = blobs.id AND source = 'catalog' AND role <> 'subject' AND parent.parsed = 0)
      END`,
  ],
  [
    'is not a filtered copy of the index that the catalog names as its original',
    `WITH RECURSIVE cut (image, id) AS (
        SELECT id, root FROM images WHERE original IS NOT NULL
        UNION SELECT image, child FROM cut CROSS JOIN edges ON parent = cut.id AND role = 'manifest' AND source = 'manifest'
      ), whole (image, id) AS (
        SELECT id, original FROM images WHERE original IS NOT NULL
        UNION SELECT image, child FROM whole CROSS JOIN edges ON parent = whole.id AND role = 'manifest' AND source = 'manifest'
      )
      SELECT root.digest FROM images JOIN blobs AS root ON root.id = images.root
        JOIN blobs AS other ON other.id = images.original
      WHERE other.parsed = 1 AND other.state = 'ok' AND (other.kind <> 'index' OR root.id = other.id
        OR EXISTS (SELECT 1 FROM cut JOIN blobs AS leaf ON leaf.id = cut.id WHERE cut.image = images.id AND leaf.kind = 'manifest'
          AND NOT EXISTS (SELECT 1 FROM whole WHERE whole.image = images.id AND whole.id = cut.id)))`,
  ],
  [
    'belongs to no image',
    `WITH RECURSIVE reached (id) AS (
        SELECT root FROM images UNION SELECT original FROM images WHERE original IS NOT NULL
        UNION SELECT child FROM reached CROSS JOIN edges ON parent = reached.id AND role <> 'subject'
      )
      SELECT digest FROM blobs WHERE (position IS NOT NULL OR left_out > 0) AND id NOT IN (SELECT id FROM reached)`,
  ],
];

/** Computes the SHA-256 of text in pieces, in hexadecimal. */
export function digestOfText(parts: Iterable<string>): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/** Checks that the entries of the head are byte for byte what the catalog's rows produce: other tools read these entries, not the catalog. */
export async function checkHeadContent(
  headDigests: HeadDigests,
  catalog: Catalog,
  findings: Findings,
): Promise<void> {
  const { head } = headDigests;
  const digests = function* (): Iterable<Digest> {
    for (const { digest, offset } of catalog.blobs()) if (offset !== undefined) yield digest;
  };
  const listed: { name: string; sha256: string }[] = [];
  for (const name of [
    entryNames.layout,
    entryNames.index,
    entryNames.catalog,
    entryNames.trustedRoot,
    entryNames.sha512sums,
  ]) {
    const entry = head.entries.get(name);
    if (entry !== undefined) listed.push({ name, sha256: await headDigests.sha256Of(name, entry) });
  }
  const want: [name: string, hex: string][] = [
    [entryNames.layout, digestOfText([layoutContent])],
    [entryNames.index, digestOfText(indexJson(catalog.indexRows()))],
    [entryNames.sha256sums, digestOfText(sumsLines(listed, digests()))],
  ];
  if (head.entries.has(entryNames.sha512sums))
    want.push([entryNames.sha512sums, digestOfText(blobLines(digests(), 'sha512'))]);
  const { trustedRoot } = catalog;
  if (head.entries.has(entryNames.trustedRoot) !== (trustedRoot !== undefined))
    findings.report('sums', entryNames.trustedRoot, 'either only the catalog has it, or only the archive');
  else if (trustedRoot !== undefined) want.push([entryNames.trustedRoot, digestOfText([trustedRoot])]);
  for (const [name, hex] of want) {
    const entry = head.entries.get(name);
    const kind = kindOfEntry(name);
    if (entry === undefined || findings.hasProblem(kind)) continue;
    const got = await headDigests.sha256Of(name, entry);
    if (got !== hex)
      findings.report(kind, name, `contradicts the catalog; got sha256:${got}, want sha256:${hex}`);
  }
}
