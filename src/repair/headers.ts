import type { BundleBlob, Catalog } from '../bundle/format/catalog.js';
import { EntryReader } from '../bundle/format/entry-reader.js';
import type { BundleFile } from '../bundle/format/file.js';
import type { Head } from '../bundle/format/head.js';
import { AirliftError, checkInterrupted } from '../errors.js';
import { blobPath } from '../oci/image-layout.js';
import { encodeHeader, paddedLength } from '../tar/header.js';

/** What must stand at a position. */
interface Piece {
  readonly position: number;
  readonly want: Buffer;
}

/** Yields a blob's header and padding. */
function piecesOf(
  { digest, size }: BundleBlob,
  position: number,
  mtime: number,
): [header: Piece, padding: Piece] {
  const header = encodeHeader(blobPath(digest), size, mtime);
  return [
    { position: position - header.length, want: header },
    { position: position + size, want: Buffer.alloc(paddedLength(size) - size) },
  ];
}

/**
 * Rewrites damaged headers and paddings of blobs from the catalog, as far as the file reaches.
 * @returns the number of headers and paddings that differed
 * @throws AirliftError `damaged`, before anything is written, if the blobs are not where the catalog says
 */
export async function repairHeaders(
  file: BundleFile,
  head: Head,
  catalog: Catalog,
  signal?: AbortSignal,
): Promise<number> {
  const { mtime } = catalog;
  const { size } = await file.stat();
  await refuseRepacked(file, head, catalog, mtime);
  const reader = new EntryReader(file);
  let changed = 0;
  for (const blob of catalog.blobs()) {
    if (blob.offset === undefined) continue;
    checkInterrupted(signal, `repair ${file.path}`);
    const position = head.start + blob.offset;
    // What lies beyond the end of a truncated file is written with its blob.
    if (position + blob.size > size) break;
    for (const { position: at, want } of piecesOf(blob, position, mtime)) {
      if (want.length === 0 || at + want.length > size) continue;
      if ((await reader.read(at, want.length)).equals(want)) continue;
      file.writevSync([want], at);
      changed++;
    }
  }
  return changed;
}

/** Refuses an archive that another program wrote anew: its blobs are whole, but elsewhere. */
async function refuseRepacked(file: BundleFile, head: Head, catalog: Catalog, mtime: number): Promise<void> {
  const reader = new EntryReader(file);
  let inPlace = 0;
  let elsewhere = 0;
  for (const blob of catalog.blobs()) {
    if (blob.offset === undefined) continue;
    const [{ position, want }] = piecesOf(blob, head.start + blob.offset, mtime);
    if ((await reader.read(position, want.length)).equals(want)) {
      inPlace++;
      continue;
    }
    const entry = await reader.readEntry(position);
    if (typeof entry !== 'object') continue;
    if (entry.name === blobPath(blob.digest) && entry.size === blob.size) inPlace++;
    else elsewhere++;
  }
  if (elsewhere > inPlace)
    throw new AirliftError(
      'damaged',
      `repair ${file.path}: the archive was repacked; ${elsewhere} blobs are not where the catalog says`,
      { hint: 'copy the bundle again from its source' },
    );
}
