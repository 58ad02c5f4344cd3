import type { Database } from '../bundle/format/database.js';
import { openDatabase, pagedRows } from '../bundle/format/sqlite.js';
import type { LayerFiles } from '../archive/platform/layer-files.js';
import type { Digest } from '../oci/digest.js';
import type { LayerReach } from './entry-rules.js';

/** An image to check: the manifest of one platform. */
export interface PlannedImage {
  readonly id: number;
  readonly manifest: Digest;
  readonly config: Digest;
  /** Its platform in the catalog, as JSON. */
  readonly platform: string | null;
  /** Number of layers. */
  readonly layers: number;
}

/** A layer to unpack once. */
export interface PlannedLayer {
  /** Position of its content in the file. */
  readonly at: number;
  readonly digest: Digest;
  readonly size: number;
}

/** A use of a layer by an image. */
export interface LayerUse {
  readonly manifest: Digest;
  readonly mediaType: string;
  readonly diffId: Digest | null;
}

const schema = `
CREATE TABLE images (id INTEGER PRIMARY KEY, manifest TEXT NOT NULL, config TEXT NOT NULL, platform TEXT, layers INTEGER NOT NULL);
CREATE TABLE layers (at INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, files TEXT, leaving TEXT, folders TEXT);
CREATE TABLE uses (image INTEGER NOT NULL, position INTEGER NOT NULL, layer TEXT NOT NULL, media_type TEXT NOT NULL, diff_id TEXT,
  PRIMARY KEY (image, position)) WITHOUT ROWID;
CREATE INDEX uses_by_layer ON uses (layer);
`;

/** Rows per query. */
const pageRows = 200;

/** The images and layers to check, in a temporary database, so that memory does not grow with the bundle. */
export class DeepPlan {
  readonly #database: Database;
  readonly #statements: ReturnType<typeof prepare>;

  constructor() {
    this.#database = openDatabase('');
    this.#database.pragma('journal_mode = OFF');
    this.#database.pragma('synchronous = OFF');
    this.#database.pragma('cache_size = -8000');
    this.#database.exec(`BEGIN; ${schema}`);
    this.#statements = prepare(this.#database);
  }

  addImage({ manifest, config, platform, layers }: Omit<PlannedImage, 'id'>): number {
    return Number(this.#statements.addImage.run(manifest, config, platform, layers).lastInsertRowid);
  }

  addUse(image: number, position: number, layer: Digest, use: Omit<LayerUse, 'manifest'>): void {
    this.#statements.addUse.run(image, position, layer, use.mediaType, use.diffId);
  }

  addLayer({ at, digest, size }: PlannedLayer): void {
    this.#statements.addLayer.run(at, digest, size);
  }

  images(): Iterable<PlannedImage> {
    return pagedRows(pageRows, (last) => this.#statements.images.all(last?.id ?? 0));
  }

  /** Yields the layers in file order. */
  layers(): Iterable<PlannedLayer> {
    return pagedRows(pageRows, (last) => this.#statements.layers.all(last?.at ?? -1));
  }

  totals(): { readonly layers: number; readonly bytes: number } {
    return this.#statements.totals.get() as ReturnType<DeepPlan['totals']>;
  }

  /** Lists what images state about a layer, each combination once, with one of the images, at most `most`. */
  usesOf(layer: Digest, most: number): LayerUse[] {
    return this.#statements.uses.all(layer, most) as LayerUse[];
  }

  /** Lists the digests of the layers of an image, lowest first. */
  layersOf(image: number): Digest[] {
    return this.#statements.layersOf.all(image) as Digest[];
  }

  /** Keeps the files of a layer, on the disk. */
  keepFiles(layer: Digest, { files, removed, opaque, isWhole }: LayerFiles): void {
    const json = JSON.stringify({ files: [...files], removed: [...removed], opaque: [...opaque], isWhole });
    this.#statements.keepFiles.run(json, layer);
  }

  /** Keeps where the entries of a layer lie, on the disk. */
  keepReach(layer: Digest, { leaving, folders, isWhole }: LayerReach): void {
    const list = isWhole ? JSON.stringify(folders) : null;
    this.#statements.keepReach.run(leaving.length === 0 ? null : JSON.stringify(leaving), list, layer);
  }

  /** Yields the images with a layer that has a symlink out of the root. */
  leavingImages(): Iterable<PlannedImage> {
    return pagedRows(pageRows, (last) => this.#statements.leavingImages.all(last?.id ?? 0));
  }

  /** Returns the symlinks out of the root of a layer. */
  leavingOf(layer: Digest): string[] {
    const json = this.#statements.leaving.get(layer) as string | null | undefined;
    return json === null || json === undefined ? [] : (JSON.parse(json) as string[]);
  }

  /** Returns the folders in which the entries of a layer lie; undefined if they are unknown. */
  foldersOf(layer: Digest): string[] | undefined {
    const json = this.#statements.folders.get(layer) as string | null | undefined;
    return json === null || json === undefined ? undefined : (JSON.parse(json) as string[]);
  }

  /** Returns the characters that the files of an image's layers take. */
  textOf(image: number): number {
    return this.#statements.text.get(image) as number;
  }

  /** Returns the files of a layer that were kept. */
  filesOf(layer: Digest): LayerFiles | undefined {
    const json = this.#statements.files.get(layer) as string | null | undefined;
    if (json === null || json === undefined) return undefined;
    const kept = JSON.parse(json) as {
      files: [string, LayerFiles['files'] extends ReadonlyMap<string, infer File> ? File : never][];
      removed: string[];
      opaque: string[];
      isWhole: boolean;
    };
    return {
      files: new Map(kept.files),
      removed: new Set(kept.removed),
      opaque: new Set(kept.opaque),
      isWhole: kept.isWhole,
    };
  }

  close(): void {
    this.#database.close();
  }
}

function prepare(database: Database) {
  return {
    addImage: database.prepare('INSERT INTO images (manifest, config, platform, layers) VALUES (?, ?, ?, ?)'),
    addUse: database.prepare('INSERT INTO uses VALUES (?, ?, ?, ?, ?)'),
    addLayer: database.prepare('INSERT OR IGNORE INTO layers (at, digest, size) VALUES (?, ?, ?)'),
    images: database.prepare(`SELECT * FROM images WHERE id > ? ORDER BY id LIMIT ${pageRows}`),
    layers: database.prepare(
      `SELECT at, digest, size FROM layers WHERE at > ? ORDER BY at LIMIT ${pageRows}`,
    ),
    totals: database.prepare('SELECT count(*) AS layers, coalesce(sum(size), 0) AS bytes FROM layers'),
    uses: database.prepare(
      `SELECT min(manifest) AS manifest, media_type AS mediaType, diff_id AS diffId FROM uses JOIN images ON images.id = image
        WHERE layer = ? GROUP BY media_type, diff_id LIMIT ?`,
    ),
    layersOf: database.prepare('SELECT layer FROM uses WHERE image = ? ORDER BY position').pluck(),
    keepFiles: database.prepare('UPDATE layers SET files = ? WHERE digest = ?'),
    keepReach: database.prepare('UPDATE layers SET leaving = ?, folders = ? WHERE digest = ?'),
    leavingImages: database.prepare(
      `SELECT * FROM images WHERE id > ? AND id IN (
          SELECT image FROM uses JOIN layers ON layers.digest = layer WHERE leaving IS NOT NULL
        ) ORDER BY id LIMIT ${pageRows}`,
    ),
    leaving: database.prepare('SELECT leaving FROM layers WHERE digest = ?').pluck(),
    folders: database.prepare('SELECT folders FROM layers WHERE digest = ?').pluck(),
    text: database
      .prepare(
        'SELECT coalesce(sum(length(files)), 0) FROM uses JOIN layers ON layers.digest = layer WHERE image = ?',
      )
      .pluck(),
    files: database.prepare('SELECT files FROM layers WHERE digest = ?').pluck(),
  };
}
