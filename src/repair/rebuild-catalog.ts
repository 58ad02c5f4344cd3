import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Catalog } from '../bundle/format/catalog.js';
import { EntryReader, type TarEntry } from '../bundle/format/entry-reader.js';
import { BundleFile } from '../bundle/format/file.js';
import { entryNames, headLimits, maxTrustedRoot, trustedRootName } from '../bundle/format/format.js';
import type { Head } from '../bundle/format/head.js';
import { readSums, sha256Of } from '../bundle/format/sums.js';
import { Journal } from '../bundle/journal/journal.js';
import { findBlobsByName } from '../bundle/verify/check-archive.js';
import { checkHead } from '../bundle/verify/check-head.js';
import { Findings } from '../bundle/verify/findings.js';
import { buildCatalog } from '../bundle/write/head-build.js';
import { AirliftError, checkInterrupted, isAirliftError, messageOf } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../oci/digest.js';
import { filterIndex } from '../oci/filter.js';
import { manifestTypeOf, maxManifestSize, parseJsonObject, parseManifest } from '../oci/manifest.js';
import { isForeignLayer, isIndex, ociIndex } from '../oci/media-types.js';
import { parseReference, type Repository } from '../oci/reference.js';
import type { Image, Source } from '../oci/source.js';
import { formatTime } from '../oci/time.js';
import { Planner } from '../plan/planner.js';
import { digestOfSums, writeHeadOf, withScratch } from './head.js';

/** The result of rebuilding a catalog: the bytes of the head that changed, or why it cannot be rebuilt. */
export type Rebuilt =
  | { readonly changed: number; readonly reason?: undefined }
  | { readonly changed?: undefined; readonly reason: string };

/**
 * Rebuilds the catalog of a bundle from `index.json`, the manifests and the headers of the archive, and writes the head. The same content
 * always gives the same catalog, byte for byte. So its digest proves it: nothing is written unless the rebuilt catalog has the digest that
 * `SHA256SUMS` lists, or gives the list of digests that `sums` names.
 * @throws AirliftError `input` if the file is not a bundle, `interrupted`, `no-space`, `io`
 */
export async function rebuildCatalog(
  file: BundleFile,
  sums: Digest | undefined,
  signal?: AbortSignal,
): Promise<Rebuilt> {
  const findings = new Findings();
  try {
    const reader = new EntryReader(file);
    const head = await checkHead(reader, findings);
    head.catalog?.close();
    await findBlobsByName(reader, head, findings);
    return await withScratch('rebuild the catalog', async (directory) => {
      const path = join(directory, 'catalog.db');
      await planCatalog(new ArchiveSource(file, findings), head, join(directory, 'journal'), path, signal);
      return await writeIfProven(file, head, path, sums);
    });
  } catch (error) {
    // What is missing or wrong in a damaged archive shows as any of these.
    if (isAirliftError(error, 'interrupted', 'no-space', 'io')) throw error;
    if (error instanceof AirliftError) return { reason: messageOf(error) };
    throw error;
  } finally {
    findings.close();
  }
}

/** Plans the images of `index.json` again, and builds their catalog. */
async function planCatalog(
  source: ArchiveSource,
  head: Head,
  journalPath: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { file } = source;
  const entry = head.entries.get(entryNames.index);
  if (entry === undefined || entry.size > headLimits.index)
    throw new AirliftError('damaged', `read ${file.path}: no ${entryNames.index}`);
  const created = await timeOf(file, entry);
  const trustedRoot = await trustedRootOf(file, head.entries.get(entryNames.trustedRoot));
  const parsed = parseManifest(
    await file.read(entry.contentPosition, entry.size),
    ociIndex,
    entryNames.index,
  );
  const roots = parsed.kind === 'index' ? parsed.manifests : [];
  await source.scan(signal);
  const journal = Journal.open(journalPath);
  try {
    const planner = new Planner(
      source,
      {
        has: (digest) => journal.has(digest),
        addManifest: (node) => journal.addManifest(node),
        addBlob: (node) => {
          const { digest, mediaType } = node.descriptor;
          if (isForeignLayer(mediaType) && !source.has(digest)) journal.leaveOut(node, 'foreign');
          else journal.addBlob(node);
        },
      },
      { referrers: true, signal },
    );
    for (const { annotations, ...root } of roots) {
      const reference = parseReference(annotations?.['org.opencontainers.image.ref.name'] ?? '');
      const image: Image = { reference, root, original: await source.originalOf(root) };
      await planner.planImage(image);
      journal.addImage(image, undefined);
    }
    journal.commit();
    journal.prune();
    journal.placement.checkPlan();
    journal.placement.placeBlobs();
    await buildCatalog(journal, path, { created, ...(trustedRoot && { [trustedRootName]: trustedRoot }) });
  } finally {
    journal.close();
  }
}

/** Returns the text of the trusted root in the archive, if there is one. */
async function trustedRootOf(file: BundleFile, entry: TarEntry | undefined): Promise<string | undefined> {
  if (entry === undefined || entry.size > maxTrustedRoot) return undefined;
  return (await file.read(entry.contentPosition, entry.size)).toString();
}

/** Returns the time of all entries, as the catalog states it. */
async function timeOf(file: BundleFile, entry: TarEntry): Promise<string> {
  const header = await file.read(entry.position, 512);
  const seconds = Number.parseInt(header.toString('latin1', 136, 147), 8);
  if (!Number.isSafeInteger(seconds)) throw new AirliftError('damaged', `read ${file.path}: no time`);
  return formatTime(new Date(seconds * 1000));
}

async function writeIfProven(
  file: BundleFile,
  head: Head,
  path: string,
  sums: Digest | undefined,
): Promise<Rebuilt> {
  const rebuilt = await BundleFile.open(path, 'r');
  try {
    const { size } = await rebuilt.stat();
    const place = { contentPosition: 0, size };
    const catalog = await Catalog.ofFile(rebuilt, place);
    try {
      const got = await sha256Of(rebuilt, place);
      const isListed = got === (await listedDigest(file, head));
      if (!isListed && (sums === undefined || digestOfSums(catalog, path) !== sums))
        return {
          reason: `the rebuilt catalog has the digest sha256:${got}, which ${
            sums === undefined ? entryNames.sha256sums : 'the given digest'
          } does not confirm; a delta, a part and a bundle with damaged manifests cannot be rebuilt`,
        };
      return { changed: await writeHeadOf(file, head, catalog, path, undefined) };
    } finally {
      catalog.close();
    }
  } finally {
    await rebuilt.close();
  }
}

/** Returns the digest that the bundle lists for its catalog. */
async function listedDigest(file: BundleFile, head: Head): Promise<string | undefined> {
  const entry = head.entries.get(entryNames.sha256sums);
  if (entry === undefined) return undefined;
  for await (const line of readSums(file, entry)) if (line?.name === entryNames.catalog) return line.hex;
  return undefined;
}

/** The most indexes in each other to look for filtered ones in. */
const maxNesting = 4;

interface PlaceRow {
  readonly digest: Digest;
  readonly position: number;
  readonly size: number;
}

/** The blobs of an archive, found by the names of its entries. */
class ArchiveSource implements Source {
  readonly #place;
  readonly #documents;
  /** Manifests by their subject. */
  readonly #referrers = new Map<Digest, Descriptor[]>();
  /** Indexes by each of their children. */
  readonly #parents = new Map<Digest, Descriptor[]>();

  constructor(
    readonly file: BundleFile,
    { database }: Findings,
  ) {
    this.#place = database
      .prepare('SELECT position FROM blobs WHERE digest = ? AND position IS NOT NULL')
      .pluck();
    this.#documents = database.prepare(
      `SELECT digest, position, size FROM blobs WHERE position IS NOT NULL AND size <= ${maxManifestSize}`,
    );
  }

  has(digest: Digest): boolean {
    return this.#place.get(digest) !== undefined;
  }

  /** Finds the manifests with a subject, and the indexes: nothing but their content tells what they belong to. */
  async scan(signal: AbortSignal | undefined): Promise<void> {
    for (const { digest, position, size } of this.#documents.all() as PlaceRow[]) {
      checkInterrupted(signal, `read ${this.file.path}`);
      const first = await this.file.read(position, Math.min(size, 1));
      if (first.toString('latin1') !== '{') continue;
      const bytes = await this.file.read(position, size);
      if (digestOf(bytes, algorithmOf(digest)) === digest) this.#record(digest, bytes);
    }
  }

  #record(digest: Digest, bytes: Buffer): void {
    const what = `blob ${digest}`;
    try {
      // A config is JSON, too.
      const { schemaVersion, mediaType: own, layers, manifests } = parseJsonObject(bytes, what);
      if (schemaVersion !== 2 && own === undefined && layers === undefined && manifests === undefined) return;
      const mediaType = manifestTypeOf(bytes, undefined, what);
      const manifest = parseManifest(bytes, mediaType, what);
      const { artifactType, subject } = manifest;
      const descriptor = { mediaType, digest, size: bytes.length, artifactType };
      if (subject !== undefined) append(this.#referrers, subject.digest, descriptor);
      if (manifest.kind === 'index')
        for (const child of manifest.manifests) append(this.#parents, child.digest, descriptor);
    } catch (error) {
      if (!isAirliftError(error, 'input', 'unsupported')) throw error;
    }
  }

  /** Returns the publisher's index of a filtered one, if the archive has it. Indexes in it may be filtered, too. */
  async originalOf(root: Descriptor, depth = 0): Promise<Descriptor | undefined> {
    if (!isIndex(root.mediaType) || depth > maxNesting) return undefined;
    const manifest = parseManifest(await this.#read(root), root.mediaType, `index ${root.digest}`);
    if (manifest.kind !== 'index') return undefined;
    // The children of the filtered index by the digests that they have in the publisher's.
    const kept = new Map<string, Descriptor>();
    const candidates = new Map<Digest, Descriptor>();
    for (const child of manifest.manifests) {
      const original = await this.originalOf(child, depth + 1);
      for (const { digest } of original === undefined ? [child] : [child, original]) {
        kept.set(digest, child);
        for (const parent of this.#parents.get(digest) ?? []) candidates.set(parent.digest, parent);
      }
    }
    for (const candidate of candidates.values()) {
      const { digest, size } = candidate;
      if (digest === root.digest) continue;
      const filtered = filterIndex(await this.#read(candidate), candidate, (child) => kept.get(child));
      if (filtered.descriptor.digest === root.digest)
        return { mediaType: root.mediaType, digest, size, artifactType: root.artifactType };
    }
    return undefined;
  }

  async #read({ digest, size }: Descriptor): Promise<Buffer> {
    if (size > maxManifestSize)
      throw new AirliftError('unsupported', `read ${digest}: larger than a manifest`);
    return this.file.read(this.#position(digest), size);
  }

  #position(digest: Digest): number {
    const position = this.#place.get(digest) as number | undefined;
    if (position !== undefined) return position;
    throw new AirliftError('not-found', `read ${digest}: not in ${this.file.path}`);
  }

  resolve(): Promise<Descriptor> {
    return Promise.reject(new AirliftError('not-found', `read ${this.file.path}: no such image`));
  }

  fetch(_repository: Repository, { digest, size }: Descriptor): Promise<Readable> {
    return Promise.resolve(this.file.stream(this.#position(digest), size));
  }

  async *referrers(_repository: Repository, digest: Digest): AsyncGenerator<Descriptor> {
    yield* this.#referrers.get(digest) ?? [];
  }
}

function append(lists: Map<Digest, Descriptor[]>, key: Digest, value: Descriptor): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
