import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { Digest } from '../../oci/digest.js';
import { entryNames } from '../format/format.js';
import { layoutContent } from '../../oci/image-layout.js';
import { blobLines, indexJson, sumsLines, type IndexRow } from '../format/head-content.js';
import type { Journal } from '../journal/journal.js';
import { encodeHeader, headerLength, paddedLength } from '../../tar/header.js';

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

function* indexRows(journal: Journal): Iterable<IndexRow> {
  yield* journal.database
    .prepare(
      `SELECT reference, images.media_type AS mediaType, images.artifact_type AS artifactType, digest, size, kind, os,
        architecture, variant, os_version AS osVersion, os_features AS osFeatures
      FROM images JOIN blobs ON blobs.id = images.root JOIN manifests ON manifests.blob = images.root ORDER BY reference`,
    )
    .iterate() as Iterable<IndexRow>;
}

function* carriedDigests(journal: Journal): Iterable<Digest> {
  yield* journal.database
    .prepare('SELECT digest FROM blobs WHERE "offset" IS NOT NULL ORDER BY ordinal')
    .pluck()
    .iterate() as Iterable<Digest>;
}

/** The entries before the first blob of a laid-out plan, in order. */
export function composeHead(journal: Journal, catalogPath: string): HeadEntry[] {
  const entries = [
    measured(entryNames.layout, () => [Buffer.from(layoutContent)]),
    measured(entryNames.index, () => chunked(indexJson(indexRows(journal)))),
    measured(entryNames.catalog, () => fileChunks(catalogPath)),
  ];
  const bySha512 = measured(entryNames.sha512sums, () =>
    chunked(blobLines(carriedDigests(journal), 'sha512')),
  );
  if (bySha512.size > 0) entries.push(bySha512);
  const listed = [...entries];
  return [
    ...entries,
    measured(entryNames.sha256sums, () => chunked(sumsLines(listed, carriedDigests(journal)))),
  ];
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
