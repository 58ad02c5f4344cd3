import type { Digest } from '../../oci/digest.js';
import { manifestTypeOf } from '../../oci/manifest.js';
import type { Catalog, ManifestRow } from '../format/catalog.js';
import type { BundleFile } from '../format/file.js';
import { entryNames } from '../format/format.js';
import { noPlatform, unstatedPlatform, type Findings } from './findings.js';

interface Facts {
  readonly kind: string;
  readonly mediaType: string;
  readonly artifactType: string | null;
  readonly subject: string | null;
}

const fieldNames = {
  kind: 'kind',
  mediaType: 'media type',
  artifactType: 'artifact type',
  subject: 'subject',
} as const;

/**
 * Compares the catalog's rows of manifests and indexes, column by column, with the content that they describe and with what the indexes
 * above state of it.
 */
export async function checkManifestRows(
  file: BundleFile,
  catalog: Catalog,
  findings: Findings,
): Promise<void> {
  const statements = prepare(findings);
  const report = (digest: Digest, detail: string): void =>
    findings.report('catalog', entryNames.catalog, detail, digest);
  for (const row of catalog.manifestRows()) {
    const { digest } = row;
    const id = findings.idOf(digest);
    const facts = statements.facts.get(id) as Facts | undefined;
    // A manifest without facts is damaged or missing, which is reported already.
    if (facts === undefined) continue;
    for (const field of ['kind', 'mediaType', 'artifactType', 'subject'] as const)
      if (row[field] !== facts[field])
        report(
          digest,
          `${fieldNames[field]} of ${digest} differs from its manifest; got ${row[field] ?? 'none'}, want ${facts[field] ?? 'none'}`,
        );
    const isTop = statements.isTop.get({ id }) === 1 || facts.subject !== null;
    const labels = statements.labels.all(id) as string[];
    if (!isTop && !(await isLabelled(file, findings, row, labels)))
      report(digest, `media type of ${digest} is not the one that its index states; got ${row.mediaType}`);
    const platforms = platformsOf(statements.platforms.all(id) as Statement[], isTop);
    if (platforms !== undefined && !platforms.has(platformOfRow(row)))
      report(digest, `platform of ${digest} is not the one that its index or config states`);
  }
}

interface Statement {
  readonly parent: number;
  readonly platform: string;
}

/**
 * Returns what a manifest's platform may be: what the indexes that list it state; that of its config, if no index lists the manifest, or one
 * lists it without a platform.
 * @returns undefined if the config counts and cannot be read
 */
function platformsOf(statements: readonly Statement[], isTop: boolean): Set<string> | undefined {
  const listed = statements.filter(({ parent }) => parent !== 0).map(({ platform }) => platform);
  const config = statements.find(({ parent }) => parent === 0);
  const isConfigs = isTop || listed.length === 0 || listed.includes(unstatedPlatform);
  if (isConfigs && config === undefined) return undefined;
  const stated = listed.filter((platform) => platform !== unstatedPlatform);
  return new Set(isConfigs && config !== undefined ? [...stated, config.platform] : stated);
}

/** Returns the text of a row's platform, as the findings hold those of indexes and configs. */
function platformOfRow({ os, architecture, variant, osVersion, osFeatures }: ManifestRow): string {
  return os === null ? noPlatform : JSON.stringify([os, architecture, variant, osVersion, osFeatures]);
}

/** Reports whether a row's media type is that of the content or, if that states none, of an index that lists it. */
async function isLabelled(
  file: BundleFile,
  findings: Findings,
  { digest, size, mediaType }: ManifestRow,
  labels: readonly string[],
): Promise<boolean> {
  if (labels.length === 0 || labels.includes(mediaType)) return true;
  const position = findings.positionOf(digest);
  if (position === undefined) return true;
  const bytes = await file.read(position, size);
  return labels.some((label) => manifestTypeOf(bytes, label, `manifest ${digest}`) === mediaType);
}

function prepare({ database }: Findings) {
  const nested = (tree: string): string =>
    `SELECT child FROM ${tree} CROSS JOIN edges ON parent = ${tree}.id AND role = 'manifest' AND source = 'manifest'
      CROSS JOIN blobs ON blobs.id = child AND blobs.kind = 'index'`;
  // A publisher's index that travels beside its filtered copy states nothing: only its bytes count.
  database.exec(`CREATE TEMP TABLE bytes_only (id INTEGER PRIMARY KEY);
    INSERT INTO bytes_only
      WITH RECURSIVE whole (id) AS (SELECT root FROM images UNION ${nested('whole')}),
        published (id) AS (SELECT original FROM images WHERE original IS NOT NULL UNION ${nested('published')})
      SELECT id FROM published EXCEPT SELECT id FROM whole`);
  return {
    facts: database.prepare(
      'SELECT kind, media_type AS mediaType, artifact_type AS artifactType, subject FROM facts WHERE blob = ?',
    ),
    isTop: database
      .prepare(
        `SELECT EXISTS (SELECT 1 FROM images WHERE root = @id) OR EXISTS (SELECT 1 FROM images WHERE original = @id)`,
      )
      .pluck(),
    labels: database.prepare('SELECT media_type FROM labels WHERE blob = ?').pluck(),
    platforms: database.prepare(
      'SELECT parent, platform FROM platforms WHERE blob = ? AND parent NOT IN (SELECT id FROM bytes_only)',
    ),
  };
}
