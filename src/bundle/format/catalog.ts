import type { Database, Statement } from './database.js';
import { AirliftError, messageOf } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Platform } from '../../oci/platform.js';
import { formatReference, parseReference, type Reference } from '../../oci/reference.js';
import type { Image } from '../../oci/source.js';
import { checkCatalog } from './catalog-check.js';
import { openCatalogDatabase } from './catalog-open.js';
import { maxPlaces, type BaseBlob, type BasePlace, type DeltaBase } from './delta.js';
import { deltaVersion, entryNames, trustedRootName } from './format.js';
import type { TarEntry } from './entry-reader.js';
import type { BundleFile } from './file.js';
import { damagedHint, type Head } from './head.js';
import type { IndexRow } from './head-content.js';
import { partOfAbout, type BundlePart } from './part.js';
import type { BlobKind, LeftOut } from './planned.js';
import { readSums, sha256Of } from './sums.js';

/** An image of a bundle. */
export interface BundleImage extends Image {
  /** The platforms it runs on; attestations do not count. */
  readonly platforms: readonly Platform[];
  /** The manifest that this image belongs to, if its tag is one of cosign's, such as `sha256-….sig`. */
  readonly companionOf?: Digest | undefined;
}

/** A blob of a bundle. */
export interface BundleBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly kind: BlobKind;
  /** Where its content begins, counted from the first blob's header; undefined if it is left out. */
  readonly offset?: number | undefined;
  /** The reason why the bundle does not carry it. */
  readonly leftOut?: string | undefined;
}

/** Returns why a bundle does not carry a blob; undefined if it carries the blob. Of unknown reasons none excuses that a blob is missing. */
export function leftOutOf({ offset, leftOut }: BundleBlob): LeftOut | undefined {
  return offset !== undefined ? undefined : leftOut === 'base' ? 'base' : 'foreign';
}

/** Totals of a bundle. */
export interface BundleCounts {
  readonly images: number;
  /** Manifests and indexes. */
  readonly manifests: number;
  /** All blobs that the bundle carries, manifests included, each once. */
  readonly blobs: number;
  readonly blobBytes: number;
  readonly leftOut: number;
  readonly leftOutBytes: number;
}

export interface ManifestRow {
  readonly digest: Digest;
  readonly size: number;
  readonly kind: BlobKind;
  readonly mediaType: string;
  readonly artifactType: string | null;
  readonly os: string | null;
  readonly architecture: string | null;
  readonly variant: string | null;
  readonly osVersion: string | null;
  readonly osFeatures: string | null;
}

interface ImageRow extends ManifestRow {
  readonly id: number;
  readonly reference: string;
  readonly original: number | null;
  readonly companionOf: Digest | null;
}

const platformColumns = 'os, architecture, variant, os_version AS osVersion, os_features AS osFeatures';

export function platformOf(row: ManifestRow): Platform | undefined {
  if (row.os === null || row.architecture === null) return undefined;
  return {
    os: row.os,
    architecture: row.architecture,
    variant: row.variant ?? undefined,
    osVersion: row.osVersion ?? undefined,
    osFeatures: row.osFeatures === null ? undefined : (JSON.parse(row.osFeatures) as string[]),
  };
}

function descriptorOf(row: ManifestRow): Descriptor {
  return {
    mediaType: row.mediaType,
    digest: row.digest,
    size: row.size,
    platform: row.kind === 'manifest' ? platformOf(row) : undefined,
    artifactType: row.artifactType ?? undefined,
  };
}

/** The catalog of a bundle, with checked rows. */
export class Catalog {
  readonly #statements: ReturnType<typeof prepare>;
  #placesOf: Statement | undefined;

  private constructor(
    readonly database: Database,
    /** Bytes from the first blob's header to the end of the last blob. */
    readonly blobsLength: number,
    /** Whether the bundle is a delta: it leaves out layers that its base has. */
    readonly isDelta: boolean,
  ) {
    this.#statements = prepare(database);
  }

  /**
   * Opens the catalog of a bundle and checks it against SHA256SUMS, its schema and its rows.
   * @throws AirliftError `damaged`, `unsupported` if a newer airlift wrote it, `io`
   */
  static async open(file: BundleFile, head: Head): Promise<Catalog> {
    const entry = head.entries.get(entryNames.catalog);
    const sums = head.entries.get(entryNames.sha256sums);
    if (entry === undefined || sums === undefined)
      throw new AirliftError('damaged', `open ${file.path}: no catalog`);
    let want: string | undefined;
    for await (const line of readSums(file, sums)) {
      if (line?.name === entryNames.catalog) want = line.hex;
      if (line?.name.startsWith('blobs/') || want !== undefined) break;
    }
    const got = await sha256Of(file, entry);
    if (got !== want) {
      throw new AirliftError(
        'damaged',
        `open the catalog of ${file.path}: digest mismatch; got sha256:${got}, want ${want === undefined ? `a line in ${entryNames.sha256sums}` : `sha256:${want}`}`,
        { hint: damagedHint },
      );
    }
    return Catalog.ofFile(file, entry);
  }

  /**
   * Opens a catalog in a file and checks its schema and its rows.
   * @param place where the catalog is in the file
   * @throws AirliftError as `open`
   */
  static async ofFile(file: BundleFile, place: Pick<TarEntry, 'contentPosition' | 'size'>): Promise<Catalog> {
    const database = await openCatalogDatabase(file, place);
    try {
      const version = database.pragma('user_version', { simple: true }) as number;
      const length = checkCatalog(database, file.path, version);
      return new Catalog(database, length, version === deltaVersion);
    } catch (error) {
      database.close();
      if (error instanceof AirliftError) throw error;
      throw new AirliftError('damaged', `read the catalog of ${file.path}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** The creation time that the bundle states. */
  get created(): Date {
    const text = this.#statements.about.get('created');
    const time = typeof text === 'string' ? Date.parse(text) : Number.NaN;
    return new Date(Number.isNaN(time) ? 0 : time);
  }

  /** The place of the bundle in a set of parts; undefined if it is no part. */
  get part(): BundlePart | undefined {
    return partOfAbout((name) => this.#statements.about.get(name));
  }

  /** The text of the trusted root of sigstore that the bundle carries. */
  get trustedRoot(): string | undefined {
    const text = this.#statements.about.get(trustedRootName);
    return typeof text === 'string' ? text : undefined;
  }

  /** The modification time of all entries: whole seconds since 1970. */
  get mtime(): number {
    return Math.floor(this.created.getTime() / 1000);
  }

  counts(): BundleCounts {
    return this.#statements.counts.get() as BundleCounts;
  }

  /** Yields the images, sorted by reference. */
  *images(): Iterable<BundleImage> {
    for (const row of this.#statements.images.iterate() as Iterable<ImageRow>) yield this.#imageOf(row);
  }

  /** Counts the configs and layers that the bundle carries. */
  content(): { readonly blobs: number; readonly bytes: number } {
    return this.#statements.content.get() as ReturnType<Catalog['content']>;
  }

  image(reference: Reference): BundleImage | undefined {
    const row = this.#statements.image.get(formatReference(reference)) as ImageRow | undefined;
    return row === undefined ? undefined : this.#imageOf(row);
  }

  #imageOf(row: ImageRow): BundleImage {
    const original = row.original === null ? undefined : this.#statements.manifestById.get(row.original);
    const platforms = this.#statements.platforms.all(row.id) as ManifestRow[];
    return {
      reference: parseReference(row.reference),
      root: descriptorOf(row),
      original: original === undefined ? undefined : descriptorOf(original as ManifestRow),
      platforms: platforms.map(platformOf).filter((platform) => platform !== undefined),
      companionOf: row.companionOf ?? undefined,
    };
  }

  /** Yields all manifests and indexes. */
  *manifests(): Iterable<Descriptor> {
    for (const row of this.#statements.manifests.iterate() as Iterable<ManifestRow>)
      yield { ...descriptorOf(row), platform: platformOf(row) };
  }

  /** Yields the rows of `index.json`. */
  indexRows(): Iterable<IndexRow> {
    return this.#statements.images.iterate() as Iterable<ImageRow>;
  }

  /** Yields all manifests and indexes as the catalog describes them. `id` is the position in `blobs()`, from 1. */
  manifestRows(): Iterable<ManifestRow & { readonly id: number; readonly subject: Digest | null }> {
    return this.#statements.manifests.iterate() as ReturnType<Catalog['manifestRows']>;
  }

  /** Yields all edges. Parent and child are positions in `blobs()`, from 1. */
  edges(): Iterable<{
    readonly parent: number;
    readonly child: number;
    readonly role: string;
    readonly position: number;
  }> {
    return this.#statements.edges.iterate() as ReturnType<Catalog['edges']>;
  }

  /** Lists the manifests and indexes whose subject is a digest. */
  referrers(digest: Digest): Descriptor[] {
    return (this.#statements.referrers.all(digest) as ManifestRow[]).map(descriptorOf);
  }

  manifest(digest: Digest): Descriptor | undefined {
    const row = this.#statements.manifest.get(digest) as ManifestRow | undefined;
    return row === undefined ? undefined : descriptorOf(row);
  }

  blob(digest: Digest): BundleBlob | undefined {
    const row = this.#statements.blob.get(digest) as BlobRow | undefined;
    return row === undefined ? undefined : blobOf(row);
  }

  /** Yields all blobs in file order; blobs left out come last. */
  *blobs(): Iterable<BundleBlob> {
    for (const row of this.#statements.blobs.iterate() as Iterable<BlobRow>) yield blobOf(row);
  }

  /** Yields the layers that have bytes between two offsets, in file order. An empty layer lies at its offset. */
  *layersBetween(from: number, to: number): Iterable<BundleBlob & { readonly offset: number }> {
    const rows = this.#statements.layersBetween.iterate({ from, to });
    for (const row of rows as Iterable<BlobRow & { readonly offset: number }>)
      yield { ...blobOf(row), offset: row.offset };
  }

  /** Lists what a delta was made against. */
  bases(): DeltaBase[] {
    if (!this.isDelta) return [];
    const rows = this.database.prepare('SELECT kind, registry, time, digest FROM bases ORDER BY id').all();
    return (rows as (DeltaBase & { registry: string | null })[]).map((base) => ({
      ...base,
      registry: base.registry ?? undefined,
    }));
  }

  /** Yields the blobs that a delta leaves out because its base has them, by digest. */
  baseBlobs(): Iterable<BaseBlob> {
    return this.#statements.baseBlobs.iterate() as Iterable<BaseBlob>;
  }

  /** Counts the blobs that a delta leaves out because its base has them. */
  baseTotals(): { readonly blobs: number; readonly bytes: number } {
    return this.#statements.baseTotals.get() as ReturnType<Catalog['baseTotals']>;
  }

  /** Lists repositories that probably hold a blob which a delta leaves out. */
  placesOf(digest: Digest): BasePlace[] {
    if (!this.isDelta) return [];
    this.#placesOf ??= this.database.prepare(
      `SELECT places.kind, repository FROM places JOIN blobs ON blobs.id = blob WHERE digest = ?
        ORDER BY places.kind, repository LIMIT ${maxPlaces}`,
    );
    return this.#placesOf.all(digest) as BasePlace[];
  }

  /** Lists the references of the images that need a blob, at most `most`, by reference. */
  imagesWith(digest: Digest, most: number): string[] {
    return this.#statements.imagesWith.all(digest, most) as string[];
  }

  /** Lists the references of the images that need a blob with bytes between two offsets, by reference. */
  imagesBetween(from: number, to: number): string[] {
    return this.#statements.imagesBetween.all({ from, to }) as string[];
  }

  close(): void {
    this.database.close();
  }
}

interface BlobRow {
  readonly digest: Digest;
  readonly size: number;
  readonly kind: BlobKind;
  readonly offset: number | null;
  readonly leftOut: string | null;
}

function blobOf(row: BlobRow): BundleBlob {
  return { ...row, offset: row.offset ?? undefined, leftOut: row.leftOut ?? undefined };
}

// CROSS JOIN fixes the join order: SQLite would otherwise scan all manifests to find the few of one image.
function prepare(database: Database) {
  const manifests = `SELECT blob AS id, digest, size, kind, media_type AS mediaType, artifact_type AS artifactType, subject, ${platformColumns}
    FROM manifests JOIN blobs ON blobs.id = manifests.blob`;
  const images = `SELECT images.id, reference, digest, size, kind, images.media_type AS mediaType,
      images.artifact_type AS artifactType, original, companion_of AS companionOf, ${platformColumns}
    FROM images JOIN blobs ON blobs.id = images.root JOIN manifests ON manifests.blob = images.root`;
  const blobs = 'SELECT digest, size, kind, content_offset AS "offset", left_out AS leftOut FROM blobs';
  return {
    about: database.prepare('SELECT value FROM about WHERE name = ?').pluck(),
    counts:
      database.prepare(`SELECT (SELECT count(*) FROM images) AS images, (SELECT count(*) FROM manifests) AS manifests,
      count(content_offset) AS blobs, coalesce(sum(iif(content_offset IS NULL, 0, size)), 0) AS blobBytes,
      count(*) - count(content_offset) AS leftOut, coalesce(sum(iif(content_offset IS NULL, size, 0)), 0) AS leftOutBytes
      FROM blobs`),
    content: database.prepare(`SELECT count(*) AS blobs, coalesce(sum(size), 0) AS bytes FROM blobs
      WHERE content_offset IS NOT NULL AND id NOT IN (SELECT blob FROM manifests)`),
    images: database.prepare(`${images} ORDER BY images.id`),
    image: database.prepare(`${images} WHERE reference = ?`),
    manifest: database.prepare(`${manifests} WHERE digest = ?`),
    manifestById: database.prepare(`${manifests} WHERE blob = ?`),
    referrers: database.prepare(
      `${manifests} WHERE subject = ? AND content_offset IS NOT NULL ORDER BY blob`,
    ),
    manifests: database.prepare(`${manifests} ORDER BY blob`),
    edges: database.prepare('SELECT parent, child, role, position FROM edges'),
    baseBlobs: database.prepare("SELECT digest, size FROM blobs WHERE left_out = 'base' ORDER BY id"),
    baseTotals: database.prepare(
      "SELECT count(*) AS blobs, coalesce(sum(size), 0) AS bytes FROM blobs WHERE left_out = 'base'",
    ),
    imagesWith: database
      .prepare(
        `WITH RECURSIVE up (id) AS (
          SELECT id FROM blobs WHERE digest = ?
          UNION SELECT parent FROM up CROSS JOIN edges ON child = up.id AND role <> 'subject'
        )
        SELECT DISTINCT reference FROM up CROSS JOIN images ON root = up.id OR original = up.id ORDER BY reference LIMIT ?`,
      )
      .pluck(),
    imagesBetween: database
      .prepare(
        `WITH RECURSIVE up (id) AS (
          SELECT id FROM blobs WHERE content_offset < @to AND content_offset + max(size, 1) > @from
          UNION SELECT parent FROM up CROSS JOIN edges ON child = up.id AND role <> 'subject'
        )
        SELECT DISTINCT reference FROM up CROSS JOIN images ON root = up.id OR original = up.id ORDER BY reference`,
      )
      .pluck(),
    blob: database.prepare(`${blobs} WHERE digest = ?`),
    blobs: database.prepare(`${blobs} ORDER BY id`),
    layersBetween: database.prepare(
      `${blobs} WHERE kind = 'layer' AND content_offset < @to AND content_offset + max(size, 1) > @from ORDER BY id`,
    ),
    platforms: database.prepare(`WITH RECURSIVE tree (blob) AS (
        SELECT root FROM images WHERE id = ?
        UNION SELECT child FROM tree CROSS JOIN edges ON parent = tree.blob AND role = 'manifest'
      )
      SELECT DISTINCT ${platformColumns} FROM tree CROSS JOIN manifests ON manifests.blob = tree.blob
        CROSS JOIN blobs ON blobs.id = tree.blob
      WHERE kind = 'manifest' AND os IS NOT NULL AND NOT (os = 'unknown' AND architecture = 'unknown')
      ORDER BY os, architecture, variant, os_version`),
  };
}
