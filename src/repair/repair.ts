import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Catalog } from '../bundle/format/catalog.js';
import { EntryReader } from '../bundle/format/entry-reader.js';
import { BundleFile } from '../bundle/format/file.js';
import type { Head } from '../bundle/format/head.js';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import { findVolumes } from '../bundle/format/volumes/find.js';
import { sumsDigest } from '../bundle/format/sums.js';
import type { BrokenImage, CheckProgress } from '../bundle/report.js';
import { checkContents } from '../bundle/verify/check-contents.js';
import { EntryCheck } from '../bundle/verify/check-entries.js';
import { checkHead } from '../bundle/verify/check-head.js';
import { addCatalogGraph } from '../bundle/verify/check-images.js';
import { Findings } from '../bundle/verify/findings.js';
import { HashPool } from '../bundle/verify/hash-pool.js';
import { AirliftError, checkInterrupted, isAirliftError, messageOf } from '../errors.js';
import { Verifier, type Digest } from '../oci/digest.js';
import { blobPath } from '../oci/image-layout.js';
import { parseReference, type Repository } from '../oci/reference.js';
import { isLoss, isOutage } from '../plan/outages.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';
import { siteRepository, type Site } from '../site/names.js';
import { encodeHeader, endLength, paddedLength } from '../tar/header.js';
import { findCatalog, repairHeadFromSources, rewriteHead, withScratch } from './head.js';
import { rebuildFilteredIndex } from './filtered-index.js';
import { rebuildCatalog } from './rebuild-catalog.js';
import { repairHeaders } from './headers.js';
import { distinctRepositories, fetchBlob } from './registry-blobs.js';
import {
  FileSource,
  isWhole,
  openSources,
  refuseItself,
  type FoundBlob,
  type WantedBlob,
} from './sources.js';

export interface RepairOptions {
  /** Further directories that hold volumes of the bundle. */
  readonly volumeDirs?: readonly string[] | undefined;
  /** Repair files, and copies of the bundle, which may be damaged elsewhere. */
  readonly from?: readonly string[] | undefined;
  /** A registry to take blobs from: the one that the images come from, or one that they were imported to. */
  readonly site?: Site | undefined;
  /** The digest of `SHA256SUMS` that `export` reported; proves the head of another copy. */
  readonly sums?: Digest | undefined;
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  /** Worker threads that read and hash; default: the number of cores, at most 2. */
  readonly jobs?: number | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  /** Called after each repaired blob. */
  readonly onRepaired?: ((blob: RepairedBlob) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RepairedBlob {
  readonly digest: Digest;
  readonly size: number;
  /** The file or registry that it comes from. */
  readonly from: string;
}

/** A blob that is still damaged or missing. */
export interface MissingBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly images: readonly BrokenImage[];
  /** Why the registry did not provide it, if one was asked. */
  readonly reason?: string | undefined;
}

export interface RepairSummary {
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** True if nothing is damaged or missing any more. */
  readonly ok: boolean;
  /** Bytes of the head that were rewritten. */
  readonly headBytes: number;
  /** The source of the head, if its catalog was damaged. */
  readonly headFrom: string | undefined;
  /** The catalog was damaged, and rebuilt from the manifests in the bundle. */
  readonly isCatalogRebuilt: boolean;
  /** Number of tar headers, paddings and ends of the archive that were rewritten. */
  readonly headers: number;
  /** Repaired blobs, and their bytes. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Number of blobs that are still damaged or missing, and their bytes. */
  readonly missing: number;
  readonly missingBytes: number;
  /** The first of them. */
  readonly firstMissing: readonly MissingBlob[];
  /** Digest of `SHA256SUMS`. */
  readonly sums: Digest;
}

/** The most missing blobs to report. */
const maxReported = 50;

/**
 * Repairs a damaged or truncated bundle in place, also one in volumes, if each has its full size. Overwrites only what is damaged:
 * headers, padding and most of the head follow from the catalog; a damaged blob is replaced as soon as a source has it whole. If it is
 * stopped, the same call continues.
 * @throws AirliftError `input` if the file is not a bundle; `damaged` if its head cannot be repaired, or if it was repacked; `conflict` if
 *   a source may belong to another bundle; transient errors of the registry; `interrupted`, `no-space`, `io`
 */
export async function repairBundle(path: string, options: RepairOptions = {}): Promise<RepairSummary> {
  const place = { path, volumeDirs: options.volumeDirs ?? [] };
  const isInVolumes = (await findVolumes(path, place.volumeDirs)) !== undefined;
  const file = await BundleFile.open(place, 'r+');
  const sources: FileSource[] = [];
  try {
    sources.push(...(await openSources(options.from ?? [])));
    refuseItself(file, sources);
    const repaired = await repairHead(file, sources, options.sums, options.signal);
    const body = await repairBody(file, sources, { ...options, place, isInVolumes });
    await file.sync();
    const { size } = await file.stat();
    return { bundle: path, size, ...repaired, ...body, sums: await sumsDigest(place) };
  } finally {
    await file.close();
    for (const source of sources) await source.close();
  }
}

/** Repairs the head, from the catalog if that is intact. */
async function repairHead(
  file: BundleFile,
  sources: readonly FileSource[],
  sums: Digest | undefined,
  signal: AbortSignal | undefined,
): Promise<HeadRepair> {
  const byCatalog =
    (await withHead(file, (head, catalog) =>
      unlessDamaged(() => rewriteHead(file, head, catalog, head.start)),
    )) ?? (await rewriteByFoundCatalog(file));
  if (byCatalog !== undefined) return { headBytes: byCatalog, headFrom: undefined, isCatalogRebuilt: false };
  const { changed, reason } = await rebuildCatalog(file, sums, signal);
  const headFrom =
    changed === undefined ? await repairHeadFromSources(file, sources, sums, reason) : undefined;
  const again = await withHead(file, ({ start }) => Promise.resolve(start));
  if (again === undefined)
    throw new AirliftError('damaged', `repair ${file.path}: the head is still damaged after it was written`, {
      hint: 'the medium loses what is written to it: copy the bundle to another one',
    });
  return { headBytes: changed ?? again, headFrom, isCatalogRebuilt: changed !== undefined };
}

/** Rewrites the head from a catalog that is intact and that only damaged headers hide. */
async function rewriteByFoundCatalog(file: BundleFile): Promise<number | undefined> {
  const found = await findCatalog(file);
  if (found === undefined) return undefined;
  return unlessDamaged(async () => {
    const catalog = await Catalog.open(file, { ...found, start: 0 });
    try {
      return await rewriteHead(file, found, catalog, undefined);
    } finally {
      catalog.close();
    }
  });
}

/** Returns what `work` does; undefined if it finds damage that it cannot repair. */
async function unlessDamaged<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (isAirliftError(error, 'damaged')) return undefined;
    throw error;
  }
}

/** Calls `use` with the head and the catalog, if that is intact. */
async function withHead<T>(
  file: BundleFile,
  use: (head: Head, catalog: Catalog) => Promise<T>,
): Promise<T | undefined> {
  const findings = new Findings();
  let catalog: Catalog | undefined;
  try {
    const head = await checkHead(new EntryReader(file), findings);
    catalog = head.catalog;
    return catalog === undefined ? undefined : await use(head, catalog);
  } finally {
    catalog?.close();
    findings.close();
  }
}

type HeadRepair = Pick<RepairSummary, 'headBytes' | 'headFrom' | 'isCatalogRebuilt'>;
type Body = Omit<RepairSummary, 'bundle' | 'size' | 'sums' | keyof HeadRepair>;

interface BodyOptions extends RepairOptions {
  readonly place: BundlePlace;
  readonly isInVolumes: boolean;
}

/** Repairs everything behind the head. */
async function repairBody(
  file: BundleFile,
  sources: readonly FileSource[],
  options: BodyOptions,
): Promise<Body> {
  const pool = new HashPool(options.place, options.jobs ?? Math.min(2, availableParallelism()));
  const findings = new Findings();
  const registry = options.site === undefined ? undefined : new Registry(options.registry, options.hooks);
  try {
    const body = await withHead(file, async (head, catalog) => {
      const want = head.start + catalog.blobsLength + endLength;
      const { size } = await file.stat();
      if (options.isInVolumes && size !== want)
        throw new AirliftError(
          'damaged',
          `repair ${file.path}: the volumes do not have the size of the bundle; got ${size} bytes, want ${want}`,
          { hint: 'copy the list of volumes again from its source' },
        );
      const headers = await repairHeaders(file, head, catalog, options.signal);
      // Again a reader of its own: the headers have changed.
      await new EntryCheck(new EntryReader(file), head, catalog, findings).check();
      addCatalogGraph(catalog, findings);
      await checkContents(pool, findings, options);
      return withScratch('keep fetched blobs', async (scratch) => {
        const repair = new BlobRepair(file, head, catalog, { sources, registry, scratch, options });
        return repair.run(findings, headers);
      });
    });
    if (body === undefined) throw new AirliftError('damaged', `repair ${file.path}: the catalog has changed`);
    return body;
  } finally {
    await registry?.close();
    await pool.close();
    findings.close();
  }
}

/** A blob of the damaged bundle. */
interface PlacedBlob extends WantedBlob {
  readonly position: number;
}

interface BlobSources {
  readonly sources: readonly FileSource[];
  readonly registry: Registry | undefined;
  /** Directory for blobs that are fetched from the registry. */
  readonly scratch: string;
  readonly options: RepairOptions;
}

class BlobRepair {
  #blobs = 0;
  #blobBytes = 0;
  #missing = 0;
  #missingBytes = 0;
  /** Why the registry did not provide the last blob. */
  #reason: string | undefined;
  readonly #firstMissing: MissingBlob[] = [];
  readonly #mtime: number;

  constructor(
    private readonly file: BundleFile,
    private readonly head: Head,
    private readonly catalog: Catalog,
    private readonly from: BlobSources,
  ) {
    this.#mtime = catalog.mtime;
  }

  async run(findings: Findings, headers: number): Promise<Body> {
    for (const { digest, images } of findings.badBlobs()) {
      checkInterrupted(this.from.options.signal, `repair ${this.file.path}`);
      const blob = this.#wanted(digest);
      if (blob === undefined) continue;
      const from = await this.#repair(blob, images);
      if (from === undefined) this.#record({ digest, size: blob.size, images, reason: this.#reason });
      else {
        this.#blobs++;
        this.#blobBytes += blob.size;
        this.from.options.onRepaired?.({ digest, size: blob.size, from });
      }
    }
    const ended = this.#missing === 0 && (await this.#repairEnd()) ? 1 : 0;
    return {
      ok: this.#missing === 0,
      headers: headers + ended,
      blobs: this.#blobs,
      blobBytes: this.#blobBytes,
      missing: this.#missing,
      missingBytes: this.#missingBytes,
      firstMissing: this.#firstMissing,
    };
  }

  #wanted(digest: Digest): PlacedBlob | undefined {
    const blob = this.catalog.blob(digest);
    if (blob?.offset === undefined) return undefined;
    return { digest, size: blob.size, position: this.head.start + blob.offset };
  }

  #record(blob: MissingBlob): void {
    this.#missing++;
    this.#missingBytes += blob.size;
    if (this.#firstMissing.length < maxReported) this.#firstMissing.push(blob);
  }

  /** Repairs a blob from the first source that has it whole, and returns that source. */
  async #repair(blob: PlacedBlob, images: readonly BrokenImage[]): Promise<string | undefined> {
    this.#reason = undefined;
    for (const source of this.from.sources) {
      const found = await source.find(blob, this.from.options.signal);
      if (found !== undefined && (await this.#write(blob, found))) return source.path;
    }
    return (await this.#rebuild(blob)) ?? (await this.#fetch(blob, images));
  }

  /** Makes a filtered index again, and returns the bundle as its source. */
  async #rebuild(blob: PlacedBlob): Promise<string | undefined> {
    const bytes = await rebuildFilteredIndex(this.file, this.head.start, this.catalog, blob.digest);
    if (bytes === undefined) return undefined;
    return this.#withScratchFile(async (file) => {
      file.writevSync([bytes], 0);
      return (await this.#write(blob, { file, position: 0 })) ? this.file.path : undefined;
    });
  }

  /** Calls `use` with an empty temporary file. */
  async #withScratchFile<T>(use: (file: BundleFile) => Promise<T>): Promise<T> {
    const file = await BundleFile.open(join(this.from.scratch, 'blob'), 'create');
    try {
      return await use(file);
    } finally {
      await file.resize(0);
      await file.close();
    }
  }

  /** Fetches a blob to a temporary file, where it is verified before anything is written to the bundle. */
  async #fetch(blob: PlacedBlob, images: readonly BrokenImage[]): Promise<string | undefined> {
    const { registry, options } = this.from;
    const [first, ...others] = this.#repositories(images);
    if (registry === undefined || first === undefined) return undefined;
    try {
      return await this.#withScratchFile(async (file) => {
        await fetchBlob(registry, [first, ...others], blob, { file, position: 0, have: 0 }, options);
        return (await this.#write(blob, { file, position: 0 })) ? first.registry : undefined;
      });
    } catch (error) {
      if (isOutage(error) || !isLoss(error)) throw error;
      this.#reason = messageOf(error);
      return undefined;
    }
  }

  /** Returns the repositories of the registry that may have a blob of images: those they were imported to, and their own. */
  #repositories(images: readonly BrokenImage[]): Repository[] {
    const { site } = this.from.options;
    if (site === undefined) return [];
    const candidates = images.flatMap(({ reference }) => {
      const own = parseReference(reference);
      return own.registry === site.registry ? [own, siteRepository(site, own)] : [siteRepository(site, own)];
    });
    return distinctRepositories(candidates);
  }

  /**
   * Writes a blob that was just verified to its place, with its header and padding, and reads it back.
   * @returns false if the source gave other bytes this time
   */
  async #write({ digest, size, position }: PlacedBlob, found: FoundBlob): Promise<boolean> {
    const { signal } = this.from.options;
    const header = encodeHeader(blobPath(digest), size, this.#mtime);
    this.file.writevSync([header], position - header.length);
    const verifier = new Verifier(digest, size);
    for await (const chunk of found.file.stream(found.position, size, { reusesMemory: true })) {
      checkInterrupted(signal, `repair ${this.file.path}`);
      this.file.writevSync([chunk as Buffer], position + verifier.bytes);
      verifier.update(chunk as Buffer);
    }
    this.file.writevSync([Buffer.alloc(paddedLength(size) - size)], position + size);
    await this.file.sync();
    if (await isWhole(this.file, position, { digest, size }, signal)) return true;
    if (verifier.bytes < size) return false;
    if (!(await isWhole(found.file, found.position, { digest, size }, signal))) return false;
    throw new AirliftError('io', `write ${this.file.path}: the disk returned other bytes than were written`, {
      hint: 'the medium loses what is written to it: copy the bundle to another one',
    });
  }

  /** Writes the end of the archive, and removes data behind it. */
  async #repairEnd(): Promise<boolean> {
    const end = this.head.start + this.catalog.blobsLength;
    const zeros = Buffer.alloc(endLength);
    const { size } = await this.file.stat();
    const isRight = size === end + endLength && (await this.file.read(end, endLength)).equals(zeros);
    if (isRight) return false;
    this.file.writevSync([zeros], end);
    if (size > end + endLength) await this.file.resize(end + endLength);
    return true;
  }
}
