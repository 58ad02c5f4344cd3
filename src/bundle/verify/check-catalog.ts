import { createHash } from 'node:crypto';
import type { Digest } from '../../oci/digest.js';
import { isUnknown, type Platform } from '../../oci/platform.js';
import { platformOf, type Catalog } from '../format/catalog.js';
import { kindOfEntry, platformKey, type Findings } from './findings.js';
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
    // A manifest without facts is damaged or missing, which is reported already.
    if (facts === undefined) continue;
    for (const field of ['kind', 'mediaType', 'artifactType', 'subject'] as const)
      if (row[field] !== facts[field])
        findings.report(
          'catalog',
          entryNames.catalog,
          `${fieldNames[field]} of ${row.digest} differs from its manifest; got ${row[field] ?? 'none'}, want ${facts[field] ?? 'none'}`,
          row.digest,
        );
    const known = platformsOf.all(id) as string[];
    if (!isPlatformOf(platformOf(row), known))
      findings.report(
        'catalog',
        entryNames.catalog,
        `platform of ${row.digest} is not one that its index or config names`,
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

/** Reports whether a platform is one that indexes or the config name. Attestations, which are for unknown/unknown, have no platform. */
function isPlatformOf(platform: Platform | undefined, known: readonly string[]): boolean {
  const unknown = known.filter((key) => {
    const [os = '', architecture = ''] = JSON.parse(key) as string[];
    return isUnknown({ os, architecture });
  });
  if (platform === undefined) return known.length === 0 || unknown.length > 0;
  return known.includes(platformKey(platform));
}

/** Contradictions between the catalog and the manifests: a predicate, and the query for the digests that it applies to. */
const contradictions: readonly (readonly [detail: string, sql: string])[] = [
  [
    'is a config in the catalog but a layer in the manifests that name it, or the reverse',
    `SELECT digest FROM blobs WHERE kind IN ('config', 'layer')
      AND EXISTS (SELECT 1 FROM edges WHERE child = blobs.id AND source = 'manifest' AND role <> 'subject')
      AND NOT EXISTS (SELECT 1 FROM edges JOIN blobs AS parent ON parent.id = edges.parent
        WHERE child = blobs.id AND source = 'catalog' AND role <> 'subject' AND parent.parsed = 0)
      AND (kind = 'config') <> EXISTS (SELECT 1 FROM edges WHERE child = blobs.id AND source = 'manifest' AND role = 'config')`,
  ],
  [
    'has a referrer edge without its subject edge, or a subject edge without its referrer edge',
    `SELECT child.digest FROM edges JOIN blobs AS child ON child.id = edges.child
      WHERE role = 'referrer' AND NOT EXISTS (SELECT 1 FROM edges AS back
        WHERE back.parent = edges.child AND back.child = edges.parent AND back.role = 'subject' AND back.source = 'catalog')
    UNION SELECT parent.digest FROM edges JOIN blobs AS parent ON parent.id = edges.parent
      WHERE role = 'subject' AND source = 'catalog' AND NOT EXISTS (SELECT 1 FROM edges AS back
        WHERE back.parent = edges.child AND back.child = edges.parent AND back.role = 'referrer')`,
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
    'has an original that no image of the catalog names',
    `SELECT parent.digest FROM edges JOIN blobs AS parent ON parent.id = edges.parent
      WHERE role = 'original' AND NOT EXISTS (SELECT 1 FROM images WHERE root = edges.parent AND original = edges.child)`,
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
function digestOfText(parts: Iterable<string>): string {
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
  for (const name of [entryNames.layout, entryNames.index, entryNames.catalog, entryNames.sha512sums]) {
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
  for (const [name, hex] of want) {
    const entry = head.entries.get(name);
    const kind = kindOfEntry(name);
    if (entry === undefined || findings.hasProblem(kind)) continue;
    const got = await headDigests.sha256Of(name, entry);
    if (got !== hex)
      findings.report(kind, name, `contradicts the catalog; got sha256:${got}, want sha256:${hex}`);
  }
}
