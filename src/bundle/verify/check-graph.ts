import { isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import {
  maxManifestSize,
  parseManifest,
  platformOfConfig,
  type Index,
  type Manifest,
} from '../../oci/manifest.js';
import { isForeignLayer, isImageConfig, isIndex, isManifest } from '../../oci/media-types.js';
import { formatPlatform } from '../../oci/platform.js';
import type { Findings } from './findings.js';
import type { BundleFile } from '../format/file.js';
import { pagedRows } from '../format/sqlite.js';
import type { EdgeRole } from '../format/planned.js';
import { blobPath } from '../../oci/image-layout.js';

interface ManifestRow {
  readonly id: number;
  readonly digest: Digest;
  readonly size: number;
  readonly position: number;
  readonly mediaType: string;
}

/** Rows per query: findings are written while manifests are read. */
const pageRows = 200;

/**
 * Parses every manifest whose digest is right, records its edges, and reports missing children and contradictions to the catalog.
 * @param hasCatalog the catalog's edges are among the findings and can be compared
 */
export async function checkGraph(file: BundleFile, findings: Findings, hasCatalog: boolean): Promise<void> {
  const page = findings.database.prepare(
    `SELECT id, digest, size, position, media_type AS mediaType FROM blobs
    WHERE id > ? AND state = 'ok' AND parsed = 0 AND media_type IS NOT NULL ORDER BY id LIMIT ${pageRows}`,
  );
  const markParsed = findings.database.prepare('UPDATE blobs SET parsed = 1 WHERE id = ?');
  // Parsing a parent makes its children known, so the number of rounds is the depth of the graph.
  for (let found = true; found;) {
    found = false;
    for (const row of pagedRows<ManifestRow>(pageRows, (last) => page.all(last?.id ?? 0))) {
      markParsed.run(row.id);
      found = true;
      if (isManifest(row.mediaType)) await readManifest(file, findings, row);
    }
  }
  reportMissing(findings);
  if (hasCatalog) reportContradictions(findings);
}

async function readManifest(file: BundleFile, findings: Findings, row: ManifestRow): Promise<void> {
  const path = blobPath(row.digest);
  if (row.size > maxManifestSize) {
    findings.report(
      'manifest',
      path,
      `too large; got ${row.size} bytes, want at most ${maxManifestSize}`,
      row.digest,
    );
    return;
  }
  let manifest: Manifest | Index;
  try {
    manifest = parseManifest(
      await file.readSmall(row.position, row.size),
      row.mediaType,
      `manifest ${row.digest}`,
    );
  } catch (error) {
    if (!isAirliftError(error, 'input', 'unsupported')) throw error;
    findings.report('manifest', path, error.message, row.digest);
    return;
  }
  findings.addFacts(row.id, manifest);
  const name = (role: EdgeRole, child: Descriptor, position: number): void => {
    nameChild(findings, row, { role, position }, child);
  };
  if (manifest.kind === 'index') {
    manifest.manifests.forEach((child, at) => name('manifest', child, at));
    findings.addConfigPlatform(row.id, undefined);
  } else {
    if (manifest.config === undefined) findings.addConfigPlatform(row.id, undefined);
    else {
      name('config', manifest.config, 0);
      await readConfig(file, findings, row, manifest.config);
    }
    manifest.layers.forEach((child, at) => name('layer', child, at));
  }
  if (manifest.subject !== undefined) name('subject', manifest.subject, 0);
}

/** Records the platform that an image's config names. A damaged config states nothing. */
async function readConfig(
  file: BundleFile,
  findings: Findings,
  row: ManifestRow,
  { mediaType, digest, size }: Descriptor,
): Promise<void> {
  if (!isImageConfig(mediaType) || size > maxManifestSize) {
    findings.addConfigPlatform(row.id, undefined);
    return;
  }
  const position = findings.positionOf(digest);
  if (position === undefined) return;
  try {
    findings.addConfigPlatform(
      row.id,
      platformOfConfig(await file.readSmall(position, size), `config ${digest}`),
    );
  } catch (error) {
    if (!isAirliftError(error, 'input')) throw error;
    findings.report('manifest', blobPath(digest), error.message, digest);
  }
}

function nameChild(
  findings: Findings,
  parent: ManifestRow,
  { role, position }: { readonly role: EdgeRole; readonly position: number },
  child: Descriptor,
): void {
  const isBelow = role === 'manifest' || role === 'subject';
  const leaf = role === 'config' ? 'config' : 'layer';
  const kind =
    isBelow && isManifest(child.mediaType) ? (isIndex(child.mediaType) ? 'index' : 'manifest') : leaf;
  const id = findings.describe(child.digest, {
    size: role === 'subject' ? undefined : child.size,
    kind: role === 'subject' ? undefined : kind,
    mediaType: isBelow ? child.mediaType : undefined,
    platform:
      child.platform === undefined || role !== 'manifest' ? undefined : formatPlatform(child.platform),
  });
  const isOptional =
    role === 'subject' || (role === 'layer' && isForeignLayer(child.mediaType) && child.urls !== undefined);
  findings.addEdge(parent.id, id, { role, position, source: 'manifest', isOptional });
  if (role === 'manifest') findings.addStated(id, parent.id, child);
  if (findings.isLeftOut(id) && role !== 'subject' && !(role === 'layer' && isForeignLayer(child.mediaType)))
    findings.report(
      'missing',
      blobPath(child.digest),
      `left out, but ${parent.digest} needs it as ${role}`,
      child.digest,
    );
  const size = findings.sizeOf(id);
  if (role !== 'subject' && size !== undefined && size !== child.size) {
    findings.report(
      'edge',
      blobPath(parent.digest),
      `names ${child.digest} with the wrong size; got ${child.size} bytes, want ${size}`,
      parent.digest,
    );
  }
}

/** Everything that an image needs below its root. The publisher's index beside a filtered one does not count: it names dropped platforms. */
const needed = `WITH RECURSIVE needed (id) AS (
  SELECT root FROM images
  UNION SELECT child FROM needed CROSS JOIN edges ON parent = needed.id AND role <> 'subject'
)`;

function reportMissing(findings: Findings): void {
  const rows = findings.database
    .prepare(
      `${needed} SELECT child.digest, parent.digest AS parent, min(edges.role) AS role
      FROM needed CROSS JOIN edges ON edges.parent = needed.id AND optional = 0 AND role <> 'subject' AND source = 'manifest'
        CROSS JOIN blobs AS child ON child.id = edges.child CROSS JOIN blobs AS parent ON parent.id = edges.parent
      WHERE child.position IS NULL AND child.left_out = 0 AND child.state IS NULL GROUP BY child.id ORDER BY child.id`,
    )
    .all() as { digest: Digest; parent: Digest; role: string }[];
  for (const { digest, parent, role } of rows)
    findings.report(
      'missing',
      blobPath(digest),
      `not in the bundle, but ${parent} names it as ${role}`,
      digest,
    );
  const roots = findings.database
    .prepare(
      'SELECT DISTINCT digest FROM images JOIN blobs ON blobs.id = images.root WHERE position IS NULL AND state IS NULL',
    )
    .pluck()
    .all() as Digest[];
  for (const digest of roots)
    findings.report('missing', blobPath(digest), 'not in the bundle, but it is the root of an image', digest);
}

function reportContradictions(findings: Findings): void {
  const both = `SELECT parent.digest AS parent, child.digest AS child, edges.role FROM edges
    JOIN blobs AS parent ON parent.id = edges.parent AND parent.parsed = 1 AND parent.state = 'ok'
    JOIN blobs AS child ON child.id = edges.child
    WHERE edges.role IN ('manifest', 'config', 'layer', 'subject') AND edges.source = @by AND NOT EXISTS (
      SELECT 1 FROM edges AS other WHERE other.parent = edges.parent AND other.child = edges.child
        AND other.role = edges.role AND other.position = edges.position AND other.source <> edges.source)`;
  const rows = (by: string, more: string): { parent: Digest; child: Digest; role: string }[] =>
    findings.database.prepare(`${both} ${more}`).all({ by }) as {
      parent: Digest;
      child: Digest;
      role: string;
    }[];
  for (const { parent, child, role } of rows('catalog', ''))
    findings.report(
      'edge',
      blobPath(parent),
      `does not name ${child} as ${role}, but the catalog says it does`,
      parent,
    );
  for (const { parent, child, role } of rows(
    'manifest',
    'AND (child.position IS NOT NULL OR child.left_out > 0)',
  ))
    findings.report(
      'edge',
      blobPath(parent),
      `names ${child} as ${role}, but the catalog does not say so`,
      parent,
    );
}
