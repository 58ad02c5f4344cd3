import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { hexOf, type Digest } from '../oci/digest.js';
import { ociIndex } from '../oci/media-types.js';
import { blobPath, entryNames, layoutContent } from './format.js';
import type { Journal } from './journal.js';
import { encodeHeader, headerLength, paddedLength } from './tar.js';

/** An entry before the first blob. Its content is made as often as it is asked for, so that it is never held whole. */
export interface HeadEntry {
  readonly name: string;
  readonly size: number;
  /** Hex of its sha256. */
  readonly sha256: string;
  readonly content: () => Iterable<Uint8Array>;
}

const chunkSize = 256 * 1024;

/** Gathers text into chunks of a useful size. */
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

function measured(name: string, content: () => Iterable<Uint8Array>): HeadEntry {
  const hash = createHash('sha256');
  let size = 0;
  for (const chunk of content()) {
    hash.update(chunk);
    size += chunk.byteLength;
  }
  return { name, size, sha256: hash.digest('hex'), content };
}

interface ImageRow {
  readonly reference: string;
  readonly mediaType: string;
  readonly artifactType: string | null;
  readonly digest: string;
  readonly size: number;
  readonly kind: string;
  readonly os: string | null;
  readonly architecture: string | null;
  readonly variant: string | null;
  readonly osVersion: string | null;
  readonly osFeatures: string | null;
}

/** An image's entry in `index.json`: its root's descriptor, named in the ways of the OCI layout and of containerd. */
function indexEntry(row: ImageRow): string {
  const isSingle = row.kind === 'manifest' && row.os !== null;
  return JSON.stringify({
    mediaType: row.mediaType,
    digest: row.digest,
    size: row.size,
    artifactType: row.artifactType ?? undefined,
    platform: isSingle
      ? {
          architecture: row.architecture,
          os: row.os,
          'os.version': row.osVersion ?? undefined,
          'os.features': row.osFeatures === null ? undefined : (JSON.parse(row.osFeatures) as string[]),
          variant: row.variant ?? undefined,
        }
      : undefined,
    annotations: {
      'io.containerd.image.name': row.reference,
      'org.opencontainers.image.ref.name': row.reference,
    },
  });
}

function* indexJson(journal: Journal): Iterable<string> {
  yield `{"schemaVersion":2,"mediaType":"${ociIndex}","manifests":[`;
  const rows = journal.database
    .prepare(
      `SELECT reference, images.media_type AS mediaType, images.artifact_type AS artifactType, digest, size, kind, os,
        architecture, variant, os_version AS osVersion, os_features AS osFeatures
      FROM images JOIN blobs ON blobs.id = images.root JOIN manifests ON manifests.blob = images.root ORDER BY reference`,
    )
    .iterate() as Iterable<ImageRow>;
  let comma = '';
  for (const row of rows) {
    yield `${comma}\n${indexEntry(row)}`;
    comma = ',';
  }
  yield '\n]}\n';
}

function* blobLines(journal: Journal, algorithm: 'sha256' | 'sha512'): Iterable<string> {
  const rows = journal.database
    .prepare(
      `SELECT digest FROM blobs WHERE "offset" IS NOT NULL AND substr(digest, 1, 6) = ? ORDER BY ordinal`,
    )
    .pluck()
    .iterate(algorithm) as Iterable<Digest>;
  for (const digest of rows) yield `${hexOf(digest)}  ${blobPath(digest)}\n`;
}

function* sums(journal: Journal, entries: readonly HeadEntry[]): Iterable<string> {
  for (const { sha256, name } of entries) yield `${sha256}  ${name}\n`;
  yield* blobLines(journal, 'sha256');
}

/** The entries before the first blob of a laid-out plan, in order. */
export function composeHead(journal: Journal, catalogPath: string): HeadEntry[] {
  const entries = [
    measured(entryNames.layout, () => [Buffer.from(layoutContent)]),
    measured(entryNames.index, () => chunked(indexJson(journal))),
    measured(entryNames.catalog, () => fileChunks(catalogPath)),
  ];
  const bySha512 = measured(entryNames.sha512sums, () => chunked(blobLines(journal, 'sha512')));
  if (bySha512.size > 0) entries.push(bySha512);
  const listed = [...entries];
  return [...entries, measured(entryNames.sha256sums, () => chunked(sums(journal, listed)))];
}

/** Bytes from the file's begin to the first blob's header. */
export function headLength(entries: readonly HeadEntry[]): number {
  return entries.reduce((sum, { name, size }) => sum + headerLength(name) + paddedLength(size), 0);
}

/** The head's bytes, in pieces: headers, contents and padding. */
export function* headBytes(entries: readonly HeadEntry[], mtime: number): Iterable<Uint8Array> {
  for (const { name, size, content } of entries) {
    yield encodeHeader(name, size, mtime);
    yield* content();
    yield Buffer.alloc(paddedLength(size) - size);
  }
}
