import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import type { Digest } from '../../oci/digest.js';
import { layoutContent } from '../../oci/image-layout.js';
import { catalogIndexes, catalogViews, tablesOf } from '../format/catalog-schema.js';
import { applicationId, catalogPageSize, deltaVersion, entryNames, formatVersion } from '../format/format.js';
import { blobLines, indexJson, sumsLines, type IndexRow } from '../format/head-content.js';
import { openDatabase } from '../format/sqlite.js';
import { journalError } from '../journal/journal-database.js';
import type { Journal } from '../journal/journal.js';
import { encodeHeader, headerLength, paddedLength } from '../../tar/header.js';

/**
 * Writes the catalog of a laid-out plan to a file of its own. The same plan gives the same bytes.
 * @param about rows of the `about` table
 * @throws AirliftError `no-space`, `io`
 */
export async function buildCatalog(
  journal: Journal,
  path: string,
  about: Readonly<Record<string, string>>,
): Promise<void> {
  await rm(path, { force: true });
  try {
    const catalog = openDatabase(path);
    catalog.pragma(`page_size = ${catalogPageSize}`);
    catalog.pragma('journal_mode = OFF');
    catalog.pragma('synchronous = OFF');
    catalog.pragma(`application_id = ${applicationId}`);
    const version = journal.placement.isDelta ? deltaVersion : formatVersion;
    catalog.pragma(`user_version = ${version}`);
    catalog.exec(tablesOf(version).join(';\n'));
    const insert = catalog.prepare('INSERT INTO about VALUES (?, ?)');
    for (const name of Object.keys(about).sort()) insert.run(name, about[name]);
    catalog.close();
    journal.placement.copyToCatalog(path);
    const indexed = openDatabase(path);
    indexed.pragma('journal_mode = OFF');
    indexed.pragma('synchronous = OFF');
    indexed.exec([...catalogIndexes, ...catalogViews].join(';\n'));
    indexed.exec('VACUUM');
    indexed.close();
  } catch (error) {
    throw journalError(`write ${path}`, error);
  }
  await normalizeHeader(path);
}

/**
 * Makes the header independent of the SQLite release and of the number of changes: sets the change counter and "version-valid-for",
 * which must equal it, to 1, and the writer's release to 3.8.2, the oldest that reads the schema (SQLite, "Database File Format",
 * 1.3).
 */
async function normalizeHeader(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const number = (value: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return bytes;
    };
    await file.write(number(1), 0, 4, 24);
    await file.write(number(1), 0, 4, 92);
    await file.write(number(3_008_002), 0, 4, 96);
  } finally {
    await file.close();
  }
}

/** An entry before the first blob. Each call of `content` generates its content again, so that it is never held whole. */
export interface HeadEntry {
  readonly name: string;
  readonly size: number;
  /** SHA-256 of its content, in hexadecimal. */
  readonly sha256: string;
  readonly content: () => Iterable<Uint8Array>;
}

const chunkSize = 256 * 1024;

/** Joins small pieces of text into chunks of at least `chunkSize`. */
function* chunked(parts: Iterable<string>): Iterable<Uint8Array> {
  let text = '';
  for (const part of parts) {
    text += part;
    if (text.length < chunkSize) continue;
    yield Buffer.from(text);
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}

function* fileChunks(path: string): Iterable<Uint8Array> {
  const descriptor = openSync(path, 'r');
  try {
    for (;;) {
      const chunk = Buffer.allocUnsafe(chunkSize);
      const count = readSync(descriptor, chunk);
      if (count === 0) return;
      yield chunk.subarray(0, count);
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Generates the content once to learn its size and digest. */
function measured(name: string, content: () => Iterable<Uint8Array>): HeadEntry {
  const hash = createHash('sha256');
  let size = 0;
  for (const chunk of content()) {
    hash.update(chunk);
    size += chunk.byteLength;
  }
  return { name, size, sha256: hash.digest('hex'), content };
}

/** What the head lists: the rows of a plan, or of a catalog. */
export interface HeadRows {
  /** Yields the rows of `index.json`. */
  indexRows(): Iterable<IndexRow>;
  /** Yields the digests of the carried blobs in file order. */
  digests(): Iterable<Digest>;
}

/** Optional entries of the head. */
export interface HeadExtras {
  /** The text of a trusted root of sigstore. */
  readonly trustedRoot?: string | undefined;
  /** Signs the content of `SHA256SUMS`; undefined leaves the bundle unsigned. */
  readonly sign?: ((sums: Iterable<Uint8Array>) => Uint8Array) | undefined;
}

/** Composes the entries before the first blob, in order. */
export function composeHead(
  rows: HeadRows,
  catalogPath: string,
  { trustedRoot, sign }: HeadExtras = {},
): HeadEntry[] {
  const entries = [
    measured(entryNames.layout, () => [Buffer.from(layoutContent)]),
    measured(entryNames.index, () => chunked(indexJson(rows.indexRows()))),
    measured(entryNames.catalog, () => fileChunks(catalogPath)),
  ];
  if (trustedRoot !== undefined)
    entries.push(measured(entryNames.trustedRoot, () => [Buffer.from(trustedRoot)]));
  const bySha512 = measured(entryNames.sha512sums, () => chunked(blobLines(rows.digests(), 'sha512')));
  if (bySha512.size > 0) entries.push(bySha512);
  const listed = [...entries];
  const sums = measured(entryNames.sha256sums, () => chunked(sumsLines(listed, rows.digests())));
  if (sign === undefined) return [...entries, sums];
  const signature = sign(sums.content());
  return [...entries, sums, measured(entryNames.signature, () => [signature])];
}

/** Returns the bytes from the start of the file to the first blob's header. */
export function headLength(entries: readonly HeadEntry[]): number {
  return entries.reduce((sum, { name, size }) => sum + headerLength(name) + paddedLength(size), 0);
}

/** Yields the bytes of the head in pieces: headers, contents and padding. */
export function* headBytes(entries: readonly HeadEntry[], mtime: number): Iterable<Uint8Array> {
  for (const { name, size, content } of entries) {
    yield encodeHeader(name, size, mtime);
    yield* content();
    yield Buffer.alloc(paddedLength(size) - size);
  }
}
