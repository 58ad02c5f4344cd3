import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { layoutContent } from '../../oci/image-layout.js';
import { entryNames } from '../format/format.js';
import { blobLines, indexJson, sumsLines } from '../format/head-content.js';
import type { Journal } from '../journal/journal.js';
import { encodeHeader, headerLength, paddedLength } from '../../tar/header.js';

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

/** Composes the entries before the first blob of a laid-out plan, in order. */
export function composeHead(journal: Journal, catalogPath: string): HeadEntry[] {
  const { placement } = journal;
  const entries = [
    measured(entryNames.layout, () => [Buffer.from(layoutContent)]),
    measured(entryNames.index, () => chunked(indexJson(placement.indexRows()))),
    measured(entryNames.catalog, () => fileChunks(catalogPath)),
  ];
  const bySha512 = measured(entryNames.sha512sums, () => chunked(blobLines(placement.digests(), 'sha512')));
  if (bySha512.size > 0) entries.push(bySha512);
  const listed = [...entries];
  return [...entries, measured(entryNames.sha256sums, () => chunked(sumsLines(listed, placement.digests())))];
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
