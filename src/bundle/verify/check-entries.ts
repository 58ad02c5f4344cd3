import type { Digest } from '../../oci/digest.js';
import { leftOutOf, type BundleBlob, type Catalog } from '../format/catalog.js';
import type { EntryReader, TarEntry } from '../format/entry-reader.js';
import type { Findings } from './findings.js';
import { entryNames } from '../format/format.js';
import { blobPath } from '../../oci/image-layout.js';
import type { Head } from '../format/head.js';
import { walkTar } from '../format/tar-walk.js';
import { encodeHeader, endLength, paddedLength } from '../../tar/header.js';

const orderedHead = Object.values(entryNames);

/** Checks every tar header and padding against the catalog, and finds the position of each blob. */
export class EntryCheck {
  /** Entries by name, once the archive's layout differs from the catalog. */
  #foundByName: Map<string, TarEntry> | undefined;
  /** Number of headers with the expected fields in other bytes. */
  #rewritten = 0;
  readonly #mtime: number;
  readonly #size: Promise<number>;

  constructor(
    private readonly reader: EntryReader,
    private readonly head: Head,
    private readonly catalog: Catalog,
    private readonly findings: Findings,
  ) {
    this.#mtime = catalog.mtime;
    this.#size = reader.file.stat().then(({ size }) => size);
  }

  async check(): Promise<void> {
    await this.#checkHead();
    for (const blob of this.catalog.blobs()) {
      this.findings.describe(blob.digest, {
        size: blob.size,
        kind: blob.kind,
        leftOut: leftOutOf(blob),
      });
      if (blob.offset === undefined) continue;
      if (this.#foundByName === undefined) await this.#checkPlaced(blob, this.head.start + blob.offset);
      if (this.#foundByName !== undefined) this.#findByCatalogName(blob, this.#foundByName);
    }
    if (this.#foundByName === undefined) await this.#checkEnd();
    else
      for (const name of this.#foundByName.keys()) this.findings.report('extra', name, 'not in the catalog');
    if (this.#rewritten > 0) {
      const detail = `${this.#rewritten} differ from the bundle format: the archive was repacked`;
      this.findings.report('header', 'tar headers', detail);
    }
  }

  async #checkHead(): Promise<void> {
    let next = 0;
    for (const entry of this.head.entries.values()) {
      const at = orderedHead.indexOf(entry.name as (typeof orderedHead)[number]);
      if (at < 0) this.findings.report('extra', entry.name, 'not an entry of the bundle format');
      else if (at < next) this.findings.report('moved', entry.name, 'out of order');
      next = Math.max(next, at);
      const want = encodeHeader(entry.name, entry.size, this.#mtime);
      const got = await this.reader.read(entry.position, want.length);
      if (at >= 0 && !got.equals(want)) this.#rewritten++;
      await this.#checkPadding(entry.name, entry.contentPosition + entry.size, undefined);
    }
  }

  async #checkPlaced(blob: BundleBlob, position: number): Promise<void> {
    const path = blobPath(blob.digest);
    const want = encodeHeader(path, blob.size, this.#mtime);
    const begin = position - want.length;
    const got = await this.reader.read(begin, want.length);
    if (got.equals(want)) {
      await this.#place(blob, position);
      return;
    }
    const entry = await this.reader.readEntry(begin);
    if (typeof entry === 'object' && (entry.name !== path || entry.size !== blob.size)) {
      this.findings.report(
        'moved',
        path,
        `byte ${begin} holds ${JSON.stringify(entry.name.slice(0, 200))} instead: the archive was repacked, and the catalog's offsets are wrong from here on`,
      );
      this.#foundByName = await this.#findByName(begin);
      return;
    }
    if (typeof entry === 'object') this.#rewritten++;
    else if (begin + want.length <= (await this.#size))
      this.findings.report('header', path, `the tar header at byte ${begin} is damaged`, blob.digest);
    await this.#place(blob, position);
  }

  /** Records the position of a blob, or that the file ends before the blob does. */
  async #place(blob: BundleBlob, position: number): Promise<void> {
    const size = await this.#size;
    const path = blobPath(blob.digest);
    if (position + blob.size > size) {
      const got = Math.max(0, size - position);
      this.findings.report(
        'missing',
        path,
        `the file is truncated; got ${got} bytes of this blob, want ${blob.size}`,
        blob.digest,
      );
      return;
    }
    this.findings.place(blob.digest, position);
    await this.#checkPadding(path, position + blob.size, blob.digest);
  }

  async #checkPadding(name: string, position: number, blob: Digest | undefined): Promise<void> {
    const length = paddedLength(position) - position;
    const padding = length === 0 ? undefined : await this.reader.read(position, length);
    if (padding?.every((byte) => byte === 0) === false)
      this.findings.report('header', name, `the padding after it, at byte ${position}, is not zeros`, blob);
  }

  async #findByName(from: number): Promise<Map<string, TarEntry>> {
    const found = new Map<string, TarEntry>();
    for await (const step of walkTar(this.reader, from)) {
      if (step.kind !== 'entry') {
        if (step.kind === 'damaged')
          this.findings.report('header', `byte ${step.position}`, 'not a tar header');
        continue;
      }
      const { name } = step.entry;
      if (found.has(name)) this.findings.report('extra', name, 'duplicate entry');
      else found.set(name, step.entry);
    }
    return found;
  }

  #findByCatalogName(blob: BundleBlob, found: Map<string, TarEntry>): void {
    const path = blobPath(blob.digest);
    const entry = found.get(path);
    found.delete(path);
    if (entry?.size === blob.size) this.findings.place(blob.digest, entry.contentPosition);
    else if (entry === undefined) this.findings.report('missing', path, 'not in the archive', blob.digest);
    else {
      this.findings.report(
        'digest',
        path,
        `size mismatch; got ${entry.size} bytes, want ${blob.size}`,
        blob.digest,
      );
    }
  }

  async #checkEnd(): Promise<void> {
    const end = this.head.start + this.catalog.blobsLength;
    const size = await this.#size;
    for await (const step of walkTar(this.reader, end, 1024 * 1024)) {
      if (step.kind === 'entry') {
        this.findings.report('extra', step.entry.name, 'after the last blob');
      } else if (step.kind === 'damaged') {
        this.findings.report(
          'header',
          `byte ${step.position}`,
          'neither a tar header nor the end of the archive',
        );
      }
    }
    const zeros = await this.reader.read(end, Math.min(endLength, Math.max(0, size - end)));
    if (!zeros.every((byte) => byte === 0) && !this.findings.hasProblem('header'))
      this.findings.report('header', 'end of archive', 'the end-of-archive blocks are not zeros');
    if (size < end + endLength)
      this.findings.report(
        'missing',
        'end of archive',
        `the file is truncated; got ${size} bytes, want ${end + endLength}`,
      );
    else if (size > end + endLength)
      this.findings.report(
        'extra',
        'end of archive',
        `data after the end of the archive; got ${size} bytes, want ${end + endLength}`,
      );
  }
}
