import { createHash } from 'node:crypto';
import type { Digest } from '../../oci/digest.js';
import { isUnknown, type Platform } from '../../oci/platform.js';
import { platformOf, type Catalog } from '../format/catalog.js';
import { platformKey, type Findings } from './findings.js';
import { entryNames } from '../format/format.js';
import { layoutContent } from '../../oci/image-layout.js';
import { blobLines, indexJson, sumsLines } from '../format/head-content.js';
import type { HeadDigests } from '../format/sums.js';

/** How many blobs are named for each thing that is wrong with them. */
const maxReported = 200;

/**
 * Compares the catalog, row by row, with the manifests that it describes, which are proven by their digests. What it says beyond
 * them would be believed at the site: a referrer without a subject, for one, is never published.
 */
export function checkCatalogRows(catalog: Catalog, findings: Findings): void {
  compareManifests(catalog, findings);
  for (const [detail, sql] of contradictions) {
    const digests = findings.database.prepare(`${sql} LIMIT ${maxReported}`).pluck().all() as Digest[];
    for (const digest of digests)
      findings.report('catalog', entryNames.catalog, `${digest} ${detail}`, digest);
  }
}

interface Facts {
  readonly kind: string;
  readonly mediaType: string;
  readonly artifactType: string | null;
  readonly subject: string | null;
}

function compareManifests(catalog: Catalog, findings: Findings): void {
  const factsOf = findings.database.prepare(
    'SELECT kind, media_type AS mediaType, artifact_type AS artifactType, subject FROM facts WHERE blob = ?',
  );
  const platformsOf = findings.database.prepare('SELECT platform FROM platforms WHERE blob = ?').pluck();
  for (const row of catalog.manifestRows()) {
    const id = findings.idOf(row.digest);
    const facts = factsOf.get(id) as Facts | undefined;
    // One whose content is damaged or missing was reported as that.
    if (facts === undefined) continue;
    for (const field of ['kind', 'mediaType', 'artifactType', 'subject'] as const)
      if (row[field] !== facts[field])
        findings.report(
          'catalog',
          entryNames.catalog,
          `${fieldNames[field]} of ${row.digest} is not its manifest's; got ${row[field] ?? 'none'}, want ${facts[field] ?? 'none'}`,
          row.digest,
        );
    const known = platformsOf.all(id) as string[];
    if (!isPlatformOf(platformOf(row), known))
      findings.report(
        'catalog',
        entryNames.catalog,
        `platform of ${row.digest} is none that its index or config names`,
        row.digest,
      );
  }
}

const fieldNames = {
  kind: 'kind',
  mediaType: 'media type',
  artifactType: 'artifact type',
  subject: 'subject',
} as const;

/** Whether a platform is one of those that indexes and config name; attestations, which are for unknown/unknown, have none. */
function isPlatformOf(platform: Platform | undefined, known: readonly string[]): boolean {
  const unknown = known.filter((key) => {
    const [os = '', architecture = ''] = JSON.parse(key) as string[];
    return isUnknown({ os, architecture });
  });
  if (platform === undefined) return known.length === 0 || unknown.length > 0;
  return known.includes(platformKey(platform));
}

/** What can be found wrong with the catalog by what is known of all blobs: a statement, and the digests it holds for. */
const contradictions: readonly (readonly [detail: string, sql: string])[] = [
  [
    'is config or layer by the catalog, and the other by the manifests that name it',
    `SELECT digest FROM blobs WHERE kind IN ('config', 'layer')
      AND EXISTS (SELECT 1 FROM edges WHERE child = blobs.id AND source = 'manifest' AND role <> 'subject')
      AND NOT EXISTS (SELECT 1 FROM edges JOIN blobs AS parent ON parent.id = edges.parent
        WHERE child = blobs.id AND source = 'catalog' AND role <> 'subject' AND parent.parsed = 0)
      AND (kind = 'config') <> EXISTS (SELECT 1 FROM edges WHERE child = blobs.id AND source = 'manifest' AND role = 'config')`,
  ],
  [
    'is said to refer to an image that it does not name, or not said to',
    `SELECT child.digest FROM edges JOIN blobs AS child ON child.id = edges.child
      WHERE role = 'referrer' AND NOT EXISTS (SELECT 1 FROM edges AS back
        WHERE back.parent = edges.child AND back.child = edges.parent AND back.role = 'subject' AND back.source = 'catalog')
    UNION SELECT parent.digest FROM edges JOIN blobs AS parent ON parent.id = edges.parent
      WHERE role = 'subject' AND source = 'catalog' AND NOT EXISTS (SELECT 1 FROM edges AS back
        WHERE back.parent = edges.child AND back.child = edges.parent AND back.role = 'referrer')`,
  ],
  [
    'was not filtered out of the index that the catalog names as its original',
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
    'names an original that no image of the catalog has',
    `SELECT parent.digest FROM edges JOIN blobs AS parent ON parent.id = edges.parent
      WHERE role = 'original' AND NOT EXISTS (SELECT 1 FROM images WHERE root = edges.parent AND original = edges.child)`,
  ],
  [
    'belongs to no image',
    `WITH RECURSIVE reached (id) AS (
        SELECT root FROM images UNION SELECT original FROM images WHERE original IS NOT NULL
        UNION SELECT child FROM reached CROSS JOIN edges ON parent = reached.id AND role <> 'subject'
      )
      SELECT digest FROM blobs WHERE (position IS NOT NULL OR left_out = 1) AND id NOT IN (SELECT id FROM reached)`,
  ],
];

/** The digest of text that is made in pieces. */
function digestOfText(parts: Iterable<string>): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/**
 * Checks that the entries of the head are, to the byte, what the catalog's rows make them: other tools read these entries and not the
 * catalog.
 */
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
  for (const name of [entryNames.layout, entryNames.index, entryNames.catalog, entryNames.sha512sums]) {
    const entry = head.entries.get(name);
    if (entry !== undefined) listed.push({ name, sha256: await headDigests.sha256Of(name, entry) });
  }
  const want: [name: string, kind: 'layout' | 'index' | 'sums', hex: string][] = [
    [entryNames.layout, 'layout', digestOfText([layoutContent])],
    [entryNames.index, 'index', digestOfText(indexJson(catalog.indexRows()))],
    [entryNames.sha256sums, 'sums', digestOfText(sumsLines(listed, digests()))],
  ];
  if (head.entries.has(entryNames.sha512sums))
    want.push([entryNames.sha512sums, 'sums', digestOfText(blobLines(digests(), 'sha512'))]);
  for (const [name, kind, hex] of want) {
    const entry = head.entries.get(name);
    if (entry === undefined || findings.hasProblem(kind)) continue;
    const got = await headDigests.sha256Of(name, entry);
    if (got !== hex)
      findings.report(kind, name, `is not what the catalog makes it; got sha256:${got}, want sha256:${hex}`);
  }
}
