import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { AirliftError } from '../../errors.js';
import { parseReference } from '../../oci/reference.js';
import { isCompanionTag } from '../../oci/companion-tag.js';
import { algorithmOf, digestOf, type Digest } from '../../oci/digest.js';
import { buildCatalog } from './catalog-build.js';
import { checkDiskSpace } from './disk-space.js';
import type { BundleFile } from '../format/file.js';
import { blobPath } from '../../oci/image-layout.js';
import { GatheringWriter } from './gathering-writer.js';
import { composeHead, headBytes, headLength, type HeadEntry } from './head-build.js';
import type { Journal } from '../journal/journal.js';
import { clipMarks } from '../journal/progress-marks.js';
import { moveWritten } from './move-blobs.js';
import { pendingFigures } from '../journal/pending.js';
import { checkPlan, digestOfPlacement, placeBlobs, placedBytes } from '../journal/placement.js';
import { prunePlan } from '../journal/prune.js';
import { encodeHeader, endLength, paddedLength } from '../../tar/header.js';
import { writtenPrefix } from './written-prefix.js';

/** The figures of a laid-out bundle. */
export interface LayoutSummary {
  /** Bytes of the whole file. */
  readonly size: number;
  readonly images: number;
  /** How many of these are signatures and the like under cosign's tags. */
  readonly signatures: number;
  /** Blobs in the bundle: manifests, configs and layers. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Blobs whose content is still to come, or to be checked again. */
  readonly pendingBlobs: number;
  /** Bytes of them that are not on the disk yet. */
  readonly pendingBytes: number;
  /** Bytes of them that an earlier run wrote. */
  readonly writtenBytes: number;
}

/** Rows taken from the journal at a time, so that timers and signals get their turn. */
const pageRows = 1000;

interface PlacedRow {
  readonly ordinal: number;
  readonly digest: Digest;
  readonly size: number;
  readonly offset: number;
  readonly bytes: Buffer | null;
}

/** Gives everything in a bundle its place, and writes all that is known before the first layer arrives. */
export class Layout {
  constructor(
    private readonly journal: Journal,
    private readonly file: BundleFile,
  ) {}

  /**
   * Lays the collected plan out, seals it in the journal, and makes the file.
   * @param isSalvage the file may hold bytes of an earlier run whose journal is lost
   * @throws AirliftError `input` where the plan is not whole, `no-space` with both figures, `interrupted`, `io`
   */
  async layOut(isSalvage: boolean, signal?: AbortSignal): Promise<LayoutSummary> {
    this.journal.commit();
    prunePlan(this.journal);
    checkPlan(this.journal);
    if (this.journal.imagesAskedFor === 0)
      throw new AirliftError('input', `lay out bundle: no image to carry`);
    if (this.journal.isHeld) this.journal.settle();
    placeBlobs(this.journal);
    await this.#withHead(async (head) => {
      const start = headLength(head);
      const size = start + placedBytes(this.journal).length + endLength;
      if (!Number.isSafeInteger(size))
        throw new AirliftError('unsupported', `lay out bundle: more than 8 PiB; got ${size} bytes`);
      this.journal.set('start', start);
      this.journal.set('size', size);
      this.journal.set('head', this.#digestOf(head));
      this.journal.set('plan', digestOfPlacement(this.journal));
      this.journal.set('state', 'laid-out');
      this.journal.seal();
      await moveWritten(this.journal, this.file, signal);
      if (!(await this.#makeFile(head)))
        throw new AirliftError('damaged', `read ${this.journal.path}: what was planned changed on the disk`, {
          hint: 'check the disk, and run the same command again',
        });
    });
    if (isSalvage) await this.#findWritten();
    return this.summary();
  }

  /**
   * Takes up a sound plan that an interrupted run laid out, and writes again whatever of the file is known. Gives undefined
   * where what the journal holds beside the plan is damaged: then everything is to be planned anew.
   * @param fileSize bytes of the file, behind which no mark can be right
   * @throws AirliftError `no-space`, `interrupted`, `io`
   */
  async restore(fileSize: number, signal?: AbortSignal): Promise<LayoutSummary | undefined> {
    clipMarks(this.journal, fileSize);
    await moveWritten(this.journal, this.file, signal);
    if (await this.hasHead()) {
      return (await this.#makeFile(undefined)) ? this.summary() : undefined;
    }
    return await this.#withHead(async (head) => {
      const isSame = this.#digestOf(head) === this.journal.get('head');
      return isSame && (await this.#makeFile(head)) ? this.summary() : undefined;
    });
  }

  /**
   * Lays a plan out that an interrupted run changed.
   * @throws AirliftError as `layOut`
   */
  async layOutAgain(fileSize: number, signal?: AbortSignal): Promise<LayoutSummary> {
    clipMarks(this.journal, fileSize);
    return this.layOut(false, signal);
  }

  /** Whether the file begins with the head of this plan. */
  async hasHead(): Promise<boolean> {
    return (await this.#digestOnDisk()) === this.journal.get('head');
  }

  /** Writes what stands behind the last blob. */
  writeEnd(): void {
    this.file.writevSync([Buffer.alloc(endLength)], this.#size - endLength);
  }

  get #start(): number {
    return Number(this.journal.get('start'));
  }

  get #size(): number {
    return Number(this.journal.get('size'));
  }

  get #created(): number {
    return Number(this.journal.get('created'));
  }

  /** The figures of what is laid out. */
  summary(): LayoutSummary {
    const { contents, count } = placedBytes(this.journal);
    const { blobs, bytes, written } = pendingFigures(this.journal);
    return {
      size: this.#size,
      images: this.journal.database.prepare('SELECT count(*) FROM images').pluck().get() as number,
      signatures: this.#signatures(),
      blobs: count,
      blobBytes: contents,
      pendingBlobs: blobs,
      pendingBytes: bytes,
      writtenBytes: written,
    };
  }

  #signatures(): number {
    const references = this.journal.database.prepare('SELECT reference FROM images').pluck();
    let count = 0;
    for (const reference of references.iterate() as Iterable<string>)
      if (isCompanionTag(parseReference(reference).tag)) count++;
    return count;
  }

  async #withHead<Result>(use: (head: HeadEntry[]) => Promise<Result>): Promise<Result> {
    const path = `${this.file.path}.catalog`;
    try {
      const created = new Date(this.#created * 1000).toISOString().replace('.000Z', 'Z');
      await buildCatalog(this.journal, path, { created });
      return await use(composeHead(this.journal, path));
    } finally {
      await rm(path, { force: true });
    }
  }

  #digestOf(head: HeadEntry[]): string {
    const hash = createHash('sha256');
    for (const chunk of headBytes(head, this.#created)) hash.update(chunk);
    return hash.digest('hex');
  }

  async #digestOnDisk(): Promise<string> {
    const hash = createHash('sha256');
    for await (const chunk of this.file.stream(0, this.#start)) hash.update(chunk as Buffer);
    return hash.digest('hex');
  }

  /**
   * Makes the file as long as it will be and writes the head (where one is given), every header and padding, and the contents
   * that the journal holds. Gives false where the journal turns out to be damaged.
   */
  async #makeFile(head: HeadEntry[] | undefined): Promise<boolean> {
    const { size, allocated } = await this.file.stat();
    await checkDiskSpace(this.file.path, this.#size - allocated);
    if (size !== this.#size) await this.file.resize(this.#size);
    const writer = new GatheringWriter(this.file);
    let position = 0;
    for (const chunk of head === undefined ? [] : headBytes(head, this.#created)) {
      writer.put(chunk, position);
      position += chunk.byteLength;
    }
    const isWhole = await this.#writePlaced(writer);
    writer.flush();
    return isWhole;
  }

  async #writePlaced(writer: GatheringWriter): Promise<boolean> {
    const page = this.journal.database.prepare(
      `SELECT ordinal, digest, size, "offset", bytes FROM blobs LEFT JOIN contents ON contents.blob = blobs.id
      WHERE ordinal > ? AND "offset" IS NOT NULL ORDER BY ordinal LIMIT ${pageRows}`,
    );
    const start = this.#start;
    for (let after = 0; ;) {
      const rows = page.all(after) as PlacedRow[];
      for (const { ordinal, digest, size, offset, bytes } of rows) {
        const header = encodeHeader(blobPath(digest), size, this.#created);
        writer.put(header, start + offset - header.length);
        if (bytes !== null) {
          if (digestOf(bytes, algorithmOf(digest)) !== digest) return false;
          writer.put(bytes, start + offset);
        }
        writer.put(Buffer.alloc(paddedLength(size) - size), start + offset + size);
        after = ordinal;
      }
      if (rows.length < pageRows) return true;
      await new Promise(setImmediate);
    }
  }

  /** Marks what an earlier run seems to have written, by looking at the file alone. */
  async #findWritten(): Promise<void> {
    const page = this.journal.database.prepare(
      `SELECT ordinal, digest, size, "offset", NULL AS bytes FROM blobs WHERE ordinal > ? AND "offset" IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM contents WHERE blob = blobs.id) ORDER BY ordinal LIMIT ${pageRows}`,
    );
    const start = this.#start;
    for (let after = 0; ;) {
      const rows = page.all(after) as PlacedRow[];
      const marks = rows
        .map(({ digest, size, offset }) => ({
          digest,
          have: writtenPrefix(this.file, start + offset, size),
          done: false,
        }))
        .filter(({ have }) => have > 0);
      this.journal.mark(marks);
      after = rows.at(-1)?.ordinal ?? 0;
      if (rows.length < pageRows) return;
      await new Promise(setImmediate);
    }
  }
}
