import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Catalog } from '../bundle/format/catalog.js';
import { EntryReader, type TarEntry } from '../bundle/format/entry-reader.js';
import { BundleFile } from '../bundle/format/file.js';
import { entryNames, headLimits } from '../bundle/format/format.js';
import { readHead, type Head } from '../bundle/format/head.js';
import { ioError } from '../bundle/format/io-error.js';
import { sha256Of } from '../bundle/format/sums.js';
import {
  composeHead,
  headBytes,
  headLength,
  type HeadEntry,
  type HeadRows,
} from '../bundle/write/head-build.js';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { blobPath } from '../oci/image-layout.js';
import { blockSize, encodeHeader, endLength, paddedLength } from '../tar/header.js';
import { copyBytes } from './repair-file.js';
import type { FileSource } from './sources.js';

/** Creates a temporary directory, and removes it after `use`. */
export async function withScratch<T>(why: string, use: (directory: string) => Promise<T>): Promise<T> {
  let directory: string;
  try {
    directory = await mkdtemp(join(tmpdir(), 'airlift-'));
  } catch (cause) {
    throw ioError(`${why} in ${tmpdir()}`, cause);
  }
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * Writes the entries of the head that follow from the catalog, all but the catalog itself and signatures, where they differ.
 * @param head with an intact catalog
 * @param length bytes of the head; undefined if they are unknown
 * @returns the number of bytes that differed
 * @throws AirliftError `damaged` if the head that the catalog gives has another length, or is not that of the blobs
 */
export async function rewriteHead(
  file: BundleFile,
  head: Pick<Head, 'entries'>,
  catalog: Catalog,
  length: number | undefined,
): Promise<number> {
  return withScratch('copy the catalog', async (directory) => {
    const path = join(directory, 'catalog.db');
    const entry = head.entries.get(entryNames.catalog);
    if (entry === undefined) throw new AirliftError('damaged', `read ${file.path}: no catalog`);
    await extract(file, { position: entry.contentPosition, size: entry.size }, path);
    return writeHeadOf(file, head, catalog, path, length);
  });
}

/**
 * Writes the head that a catalog gives, with the signature that the file has, where it differs.
 * @param path of the catalog's content
 * @param length bytes of the head; undefined if they are unknown
 * @returns the number of bytes that differed
 * @throws AirliftError `damaged`, before anything is written, as `rewriteHead`
 */
export async function writeHeadOf(
  file: BundleFile,
  head: Pick<Head, 'entries'>,
  catalog: Catalog,
  path: string,
  length: number | undefined,
): Promise<number> {
  const entries = composeHead(rowsOf(catalog), path, { trustedRoot: catalog.trustedRoot });
  const composed = new Set(entries.map(({ name }) => name));
  for (const other of head.entries.values())
    if (!composed.has(other.name)) entries.push(await heldEntry(file, other));
  const want = headLength(entries);
  const isRight = length === undefined ? await isBeforeBlobs(file, want, catalog) : length === want;
  if (!isRight)
    throw new AirliftError(
      'damaged',
      `read ${file.path}: its catalog belongs to another head; want ${want} bytes before the blobs`,
    );
  return writeChanged(file, headBytes(entries, catalog.mtime));
}

/** Returns the digest of the `SHA256SUMS` that a catalog gives. */
export function digestOfSums(catalog: Catalog, path: string): Digest | undefined {
  const entry = composeHead(rowsOf(catalog), path, { trustedRoot: catalog.trustedRoot }).find(
    ({ name }) => name === entryNames.sha256sums,
  );
  return entry === undefined ? undefined : (`sha256:${entry.sha256}` as Digest);
}

/** The first blobs whose headers tell where the head ends. */
const maxProbes = 16;

/** Reports whether the header of one of the first blobs is where it would be if the head ended at `start`. */
async function isBeforeBlobs(file: BundleFile, start: number, catalog: Catalog): Promise<boolean> {
  const { mtime } = catalog;
  let probes = 0;
  for (const { digest, size, offset } of catalog.blobs()) {
    if (offset === undefined || ++probes > maxProbes) break;
    const want = encodeHeader(blobPath(digest), size, mtime);
    if ((await file.read(start + offset - want.length, want.length)).equals(want)) return true;
  }
  return probes === 0;
}

/** Returns what the head lists, from the catalog. */
function rowsOf(catalog: Catalog): HeadRows {
  return {
    indexRows: () => catalog.indexRows(),
    *digests(): Iterable<Digest> {
      for (const { digest, offset } of catalog.blobs()) if (offset !== undefined) yield digest;
    },
  };
}

/** The largest entry to keep in memory: a signature has a few hundred bytes. */
const maxHeld = 64 * 1024;

async function heldEntry(file: BundleFile, { name, size, contentPosition }: TarEntry): Promise<HeadEntry> {
  if (size > maxHeld) throw new AirliftError('damaged', `read ${file.path}: ${name} is too large`);
  const bytes = await file.read(contentPosition, size);
  return { name, size, sha256: '', content: () => [bytes] };
}

/** Writes chunks to the beginning of a file where they differ from it, and returns the bytes of those chunks. */
async function writeChanged(
  file: BundleFile,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<number> {
  let position = 0;
  let changed = 0;
  for await (const chunk of chunks) {
    if (!(await file.read(position, chunk.byteLength)).equals(chunk)) {
      file.writevSync([chunk], position);
      changed += chunk.byteLength;
    }
    position += chunk.byteLength;
  }
  return changed;
}

async function extract(
  file: BundleFile,
  place: { readonly position: number; readonly size: number },
  path: string,
): Promise<void> {
  const to = await BundleFile.open(path, 'create');
  try {
    await copyBytes(file, place, to, 0);
  } finally {
    await to.close();
  }
}

/** Bytes to search for the catalog if its header is damaged. */
const searchLimit = 64 * 1024 * 1024;

/**
 * Finds the catalog and the line for it in `SHA256SUMS` by their first bytes: damaged headers hide them from other readers.
 * @returns undefined if one of them is not found
 */
export async function findCatalog(file: BundleFile): Promise<Pick<Head, 'entries'> | undefined> {
  const entries = new Map<string, TarEntry>();
  const add = (name: string, contentPosition: number, size: number): void => {
    const position = contentPosition - blockSize;
    entries.set(name, { name, size, type: '0', position, contentPosition, end: contentPosition + size });
  };
  const reader = new EntryReader(file);
  for (let at = blockSize; at < searchLimit && entries.size < 2;) {
    const block = await reader.read(at, blockSize);
    if (block.length < blockSize) break;
    const size = catalogSize(block);
    if (size > 0) add(entryNames.catalog, at, size);
    // The first block holds the line for the catalog, which is the third one.
    else if (/^[0-9a-f]{64} {2}oci-layout\n/.test(block.toString('latin1')))
      add(entryNames.sha256sums, at, blockSize);
    at += Math.max(blockSize, paddedLength(size));
  }
  return entries.size === 2 ? { entries } : undefined;
}

/** Returns the bytes of the database that begins with a block (SQLite, "Database File Format", 1.3); 0 if none does. */
function catalogSize(block: Buffer): number {
  if (block.toString('latin1', 0, 16) !== 'SQLite format 3\0') return 0;
  const size = block.readUInt16BE(16) * block.readUInt32BE(28);
  return size <= headLimits.catalog ? size : 0;
}

/**
 * Writes the head of a bundle whose catalog is damaged, from the first source that has a whole head of the same bundle.
 * @param sums the digest of `SHA256SUMS` that the bundle should have, if it is known
 * @param reason why the catalog cannot be rebuilt
 * @returns the path of the source
 * @throws AirliftError `damaged` if no source has it, `conflict` if it cannot be told whether a source is a copy of the same bundle
 */
export async function repairHeadFromSources(
  file: BundleFile,
  sources: readonly FileSource[],
  sums: Digest | undefined,
  reason: string,
): Promise<string> {
  let doubt: string | undefined;
  for (const source of sources) {
    const place = source.headPlace;
    if (place === undefined) continue;
    const verdict = await withScratch('copy the head', async (directory) => {
      const path = join(directory, 'head.tar');
      await extract(source.file, place, path);
      return useHead(file, path, place.size, sums);
    });
    if (verdict === 'written') return source.path;
    if (verdict === 'unproven') doubt ??= source.path;
  }
  if (doubt !== undefined)
    throw new AirliftError(
      'conflict',
      `repair ${file.path}: too little is left of its head to tell whether ${doubt} has the head of the same bundle`,
      { hint: 'give the digest that export printed with `sums`' },
    );
  throw new AirliftError(
    'damaged',
    `repair ${file.path}: the head is damaged, and no source has a whole head`,
    {
      lines: [`the catalog cannot be rebuilt from the bundle: ${reason}`],
      hint: 'name another copy of the bundle with `from`, or a repair file that carries the head',
    },
  );
}

/** Writes a candidate for the head if it is whole and belongs to the bundle. */
async function useHead(
  file: BundleFile,
  path: string,
  length: number,
  sums: Digest | undefined,
): Promise<'written' | 'unproven' | 'damaged'> {
  const candidate = await BundleFile.open(path, 'r+');
  try {
    candidate.writevSync([Buffer.alloc(endLength)], length);
    const head = await readHead(candidate);
    const catalog = await Catalog.open(candidate, head);
    try {
      if (head.start !== length) return 'damaged';
      // A damaged index.json or list of digests in the source follows from its catalog, too.
      await rewriteHead(candidate, head, catalog, length);
    } finally {
      catalog.close();
    }
    if (!(await isSameBundle(file, candidate, head, sums))) return 'unproven';
    await writeChanged(file, candidate.stream(0, length));
    return 'written';
  } catch (error) {
    if (isAirliftError(error, 'damaged', 'input')) return 'damaged';
    throw error;
  } finally {
    await candidate.close();
  }
}

/** Reports whether a damaged bundle has the same catalog or the same list of digests as a head, or should have that list. */
async function isSameBundle(
  file: BundleFile,
  candidate: BundleFile,
  head: Head,
  sums: Digest | undefined,
): Promise<boolean> {
  for (const name of [entryNames.sha256sums, entryNames.catalog]) {
    const entry = head.entries.get(name);
    if (entry === undefined) return false;
    const want = await sha256Of(candidate, entry);
    if (name === entryNames.sha256sums && sums !== undefined) return sums === `sha256:${want}`;
    if ((await sha256Of(file, entry)) === want) return true;
  }
  return false;
}
