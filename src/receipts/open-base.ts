import { AirliftError } from '../errors.js';
import { Catalog } from '../bundle/format/catalog.js';
import { BundleFile } from '../bundle/format/file.js';
import { findVolumes } from '../bundle/format/volumes/find.js';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import { HeadDigests, sha256Of } from '../bundle/format/sums.js';
import { maxPlaces, type BasePlace, type DeltaBase } from '../bundle/format/delta.js';
import { BundleReader } from '../bundle/reader.js';
import type { Digest } from '../oci/digest.js';
import { formatRepository, parseReference } from '../oci/reference.js';
import { formatTime } from '../oci/time.js';
import { looksLikeReceipt, Receipt } from './receipt.js';

/** What a delta can be made against: a bundle or its catalog, which names every blob, or a receipt, which names manifests. */
export type Base = CatalogBase | ReceiptBase;

/** A receipt, or a record of what was sent. */
export interface ReceiptBase {
  readonly kind: 'receipt';
  readonly path: string;
  readonly base: DeltaBase;
  readonly receipt: Receipt;
}

/** A bundle, or the catalog of one. */
export class CatalogBase {
  readonly kind = 'bundle';

  constructor(
    readonly path: string,
    readonly base: DeltaBase,
    readonly catalog: Catalog,
    private readonly closeFile: () => Promise<void>,
  ) {}

  /** Yields the digests of all blobs that a site with this bundle has, also those that it left out as a delta. */
  *blobs(): Iterable<Digest> {
    for (const { digest, offset, leftOut } of this.catalog.blobs())
      if (offset !== undefined || leftOut === 'base') yield digest;
  }

  /** Lists repositories that need a blob, at most as many as a delta records. */
  placesOf(digest: Digest): BasePlace[] {
    const names = this.catalog
      .imagesWith(digest, maxPlaces)
      .map((text) => formatRepository(parseReference(text)));
    return [...new Set(names)].map((repository) => ({ kind: 'source', repository }));
  }

  async close(): Promise<void> {
    this.catalog.close();
    await this.closeFile();
  }
}

/** Opens a catalog that was extracted from a bundle; undefined if the file is no database. */
async function openCatalogFile(path: string, place: BundlePlace): Promise<CatalogBase | undefined> {
  const file = await BundleFile.open(place, 'r');
  try {
    const { size } = await file.stat();
    const whole = { contentPosition: 0, size };
    if ((await file.read(0, 15)).toString('latin1') !== 'SQLite format 3') {
      await file.close();
      return undefined;
    }
    const digest = `sha256:${await sha256Of(file, whole)}` as Digest;
    const catalog = await Catalog.ofFile(file, whole);
    const base = { kind: 'bundle', time: formatTime(catalog.created), digest } as const;
    return new CatalogBase(path, base, catalog, () => file.close());
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Opens what a delta is made against: a receipt, a record of what was sent, a bundle, or the catalog of a bundle. Close it after use.
 * @param volumeDirs directories that hold volumes of a bundle, besides that of its path
 * @throws AirliftError `input` if the file is none of these, `damaged`, `unsupported`, `io`
 */
export async function openBase(path: string, volumeDirs: readonly string[] = []): Promise<Base> {
  const place = volumeDirs.length === 0 ? path : { path, volumeDirs };
  if ((await findVolumes(path, volumeDirs)) === undefined && (await looksLikeReceipt(path))) {
    const receipt = await Receipt.open(path);
    const { kind, registry, time } = receipt.head;
    return { kind: 'receipt', path, base: { kind, registry, time, digest: receipt.digest }, receipt };
  }
  const catalog = await openCatalogFile(path, place);
  if (catalog !== undefined) return catalog;
  const reader = await BundleReader.open(place);
  try {
    const digest = await new HeadDigests(reader.file, reader.head).ofSums();
    if (digest === undefined) throw new AirliftError('damaged', `open ${path}: no SHA256SUMS`);
    const base = { kind: 'bundle', time: formatTime(reader.created), digest } as const;
    return new CatalogBase(path, base, reader.catalog, () => reader.close());
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/**
 * Opens several bases, all or none. Close them after use.
 * @throws AirliftError as `openBase`
 */
export async function openBases(paths: readonly string[]): Promise<Base[]> {
  const bases: Base[] = [];
  try {
    for (const path of paths) bases.push(await openBase(path));
    return bases;
  } catch (error) {
    await closeBases(bases);
    throw error;
  }
}

/** Closes bases. */
export async function closeBases(bases: readonly Base[]): Promise<void> {
  for (const base of bases) if (base.kind === 'bundle') await base.close();
}
