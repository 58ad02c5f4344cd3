/**
 * A repair file: a tar archive and OCI image layout with the blobs that a request names, for `repair`. docs/bundle-format.md, "Repair
 * files", specifies it.
 */
import { createHash } from 'node:crypto';
import { BundleFile } from '../bundle/format/file.js';
import { EntryReader, type TarEntry } from '../bundle/format/entry-reader.js';
import { entryNames, repairMark } from '../bundle/format/format.js';
import { hexOf, type Digest } from '../oci/digest.js';
import { blobPath, digestOfPath, layoutContent } from '../oci/image-layout.js';
import { ociIndex } from '../oci/media-types.js';
import { oneLine } from '../oci/printable.js';
import { encodeHeader, endLength, headerLength, paddedLength } from '../tar/header.js';

/** Names of the entries that only repair files have. */
export const repairNames = { mark: repairMark, head: 'airlift/head' } as const;

/** The most entries that a reader accepts. */
const maxEntries = 250_000;

const chunkSize = 1024 * 1024;

/** Where an entry's header begins and its content lies. */
export interface EntryPlace {
  readonly position: number;
  readonly contentPosition: number;
  readonly size: number;
}

/** Writes a repair file front to back, so that what an earlier run wrote can stay. */
export class RepairFileWriter {
  #position = 0;
  readonly #sums: string[] = [];

  constructor(private readonly file: BundleFile) {}

  /** Bytes of the entries written so far. */
  get position(): number {
    return this.#position;
  }

  /** Bytes of the finished file. */
  get size(): number {
    return this.#position + endLength;
  }

  /** Writes the entries before the head and the blobs. */
  begin(bundle: string, sums: Digest | undefined): void {
    const mark = `airlift repair 1\nbundle ${oneLine(bundle, 255)}\n${sums === undefined ? '' : `sums ${sums}\n`}`;
    this.#put(entryNames.layout, layoutContent);
    this.#put(entryNames.index, `{"schemaVersion":2,"mediaType":"${ociIndex}","manifests":[]}\n`);
    this.#put(repairNames.mark, mark);
  }

  #put(name: string, text: string): void {
    const bytes = Buffer.from(text);
    const { contentPosition } = this.place(name, bytes.length);
    this.file.writevSync([bytes], contentPosition);
    this.add(name, bytes.length, createHash('sha256').update(bytes).digest('hex'));
  }

  /** Returns the place that the next entry would get. */
  nextPlace(name: string, size: number): EntryPlace {
    return { position: this.#position, contentPosition: this.#position + headerLength(name), size };
  }

  /** Writes the header of the next entry, and returns the place of its content. */
  place(name: string, size: number): EntryPlace {
    const place = this.nextPlace(name, size);
    this.file.writevSync([encodeHeader(name, size, 0)], place.position);
    return place;
  }

  /** Ends an entry whose content is in its place. */
  add(name: string, size: number, sha256?: string): void {
    const { contentPosition } = this.nextPlace(name, size);
    this.file.writevSync([Buffer.alloc(paddedLength(size) - size)], contentPosition + size);
    this.#position = contentPosition + paddedLength(size);
    if (sha256 !== undefined) this.#sums.push(`${sha256}  ${name}\n`);
  }

  /** Ends the entry of a blob. */
  addBlob(digest: Digest, size: number): void {
    this.add(blobPath(digest), size, digest.startsWith('sha256:') ? hexOf(digest) : undefined);
  }

  /** Writes the list of digests and the end of the archive, and waits until everything is on the disk. */
  async finish(): Promise<void> {
    const sums = Buffer.from(this.#sums.join(''));
    const { contentPosition } = this.place(entryNames.sha256sums, sums.length);
    this.file.writevSync([sums], contentPosition);
    this.add(entryNames.sha256sums, sums.length);
    this.file.writevSync([Buffer.alloc(endLength)], this.#position);
    await this.file.resize(this.#position + endLength);
    await this.file.sync();
  }
}

/** What a repair file holds. */
export interface RepairFileContent {
  readonly head: EntryPlace | undefined;
  readonly blobs: ReadonlyMap<Digest, EntryPlace>;
}

/**
 * Finds the entries of a repair file. A damaged or truncated one gives the entries before the damage: `repair` hashes each blob anyway.
 * @returns undefined if the file is not a repair file
 */
export async function readRepairFile(file: BundleFile): Promise<RepairFileContent | undefined> {
  const reader = new EntryReader(file);
  const blobs = new Map<Digest, EntryPlace>();
  let head: TarEntry | undefined;
  let isMarked = false;
  let position = 0;
  for (let count = 0; count < maxEntries; count++) {
    const entry = await reader.readEntry(position);
    if (typeof entry === 'string') break;
    if (entry.name === repairNames.mark) isMarked = true;
    if (count >= 3 && !isMarked) break;
    if (entry.name === repairNames.head) head = entry;
    const digest = digestOfPath(entry.name);
    if (digest !== undefined) blobs.set(digest, entry);
    position = entry.end;
  }
  return isMarked ? { head, blobs } : undefined;
}

/**
 * Copies bytes between files.
 * @returns the SHA-256 of the bytes, in hexadecimal
 */
export async function copyBytes(
  from: BundleFile,
  at: { readonly position: number; readonly size: number },
  to: BundleFile,
  position: number,
): Promise<string> {
  const hash = createHash('sha256');
  for (let done = 0; done < at.size;) {
    const chunk = await from.read(at.position + done, Math.min(chunkSize, at.size - done));
    if (chunk.length === 0) break;
    hash.update(chunk);
    to.writevSync([chunk], position + done);
    done += chunk.length;
  }
  return hash.digest('hex');
}
