import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { AirliftError } from '../../errors.js';
import { isCompanionTag } from '../../oci/companion-tag.js';
import { algorithmOf, digestOf } from '../../oci/digest.js';
import { formatTime } from '../../oci/time.js';
import { parseReference } from '../../oci/reference.js';
import { signSums, type BundleSigning } from '../../signing/sign-content.js';
import { endLength } from '../../tar/header.js';
import type { BundleFile } from '../format/file.js';
import { trustedRootName } from '../format/format.js';
import type { Journal } from '../journal/journal.js';
import { checkDiskSpace } from './disk-space.js';
import { checkLimits } from './file-limit.js';
import { buildCatalog, composeHead, headBytes, headLength, type HeadEntry } from './head-build.js';
import { GatheringWriter, knownPieces, OrderedWriter } from './known-bytes.js';
import { moveWritten } from './move-blobs.js';

/** Totals of a laid-out bundle. */
export interface LayoutSummary {
  /** Bytes of the whole file. */
  readonly size: number;
  readonly images: number;
  /** Images under cosign's tags: signatures, attestations, SBOMs. */
  readonly signatures: number;
  /** Blobs in the bundle: manifests, configs and layers. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Blobs whose content still has to be downloaded, or checked again. */
  readonly pendingBlobs: number;
  /** Bytes of the pending blobs that are not written yet. */
  readonly pendingBytes: number;
  /** Bytes of the pending blobs that an earlier run wrote. */
  readonly writtenBytes: number;
}

/** Pieces that are written before other work gets its turn. */
const piecesAtATime = 768;

/** What a head contains besides the plan, and how the file is written. */
export interface LayoutOptions {
  readonly signing?: BundleSigning | undefined;
  /** Rows of the catalog's `about` besides `created`. */
  readonly about?: Readonly<Record<string, string>> | undefined;
  /** Write the file from its start to its end, and never set its size ahead: for filesystems without holes. */
  readonly isInOrder?: boolean | undefined;
}

/** Sets the place of everything in a bundle, and writes all that is known before the first layer arrives. */
export class Layout {
  #ordered: OrderedWriter | undefined;

  constructor(
    private readonly journal: Journal,
    private readonly file: BundleFile,
    private readonly options: LayoutOptions = {},
  ) {}

  /** The file is written from its start to its end, and its size is never set ahead. */
  get isInOrder(): boolean {
    return this.options.isInOrder ?? false;
  }

  /**
   * Lays out the plan, seals it in the journal, and writes the head of the file.
   * @param isSalvage the file may hold bytes of an earlier run whose journal is lost
   * @throws AirliftError `input` if the plan is incomplete, `no-space` with both figures, `interrupted`, `io`
   */
  async layOut(isSalvage: boolean, signal?: AbortSignal): Promise<LayoutSummary> {
    const { journal } = this;
    journal.commit();
    journal.prune();
    journal.base.settle();
    journal.placement.checkPlan();
    if (journal.listedImageCount === 0) throw new AirliftError('input', `lay out bundle: no image to carry`);
    if (journal.isChanging) journal.commitChange();
    journal.placement.placeBlobs();
    await this.#withHead(async (head) => {
      const start = headLength(head);
      const size = start + journal.placement.totals().length + endLength;
      if (!Number.isSafeInteger(size))
        throw new AirliftError('unsupported', `lay out bundle: larger than 8 PiB; got ${size} bytes`);
      journal.set('start', start);
      journal.set('size', size);
      journal.set('head', this.#digestOf(head));
      journal.set('plan', journal.placementDigest());
      journal.set('state', 'laid-out');
      journal.seal();
      await moveWritten(journal, this.file, signal);
      if (!(await this.#writeKnown(head)))
        throw new AirliftError('damaged', `read ${journal.path}: the plan has changed on the disk`, {
          hint: 'check the disk, and run the same command again',
        });
    });
    if (isSalvage) await this.#markWritten();
    return this.summary();
  }

  /**
   * Resumes a sound plan that an interrupted run laid out, and rewrites everything in the file that is known.
   * @param fileSize bytes of the file; marks beyond them are wrong
   * @returns undefined if other parts of the journal are damaged, so that planning has to start over
   * @throws AirliftError `no-space`, `interrupted`, `io`
   */
  async restore(fileSize: number, signal?: AbortSignal): Promise<LayoutSummary | undefined> {
    this.journal.progress.clip(fileSize);
    await moveWritten(this.journal, this.file, signal);
    if (await this.hasHead()) {
      return (await this.#writeKnown(undefined)) ? this.summary() : undefined;
    }
    return await this.#withHead(async (head) => {
      const isSame = this.#digestOf(head) === this.journal.get('head');
      return isSame && (await this.#writeKnown(head)) ? this.summary() : undefined;
    });
  }

  /**
   * Lays out a plan that an interrupted run changed.
   * @throws AirliftError as `layOut`
   */
  async layOutChanged(fileSize: number, signal?: AbortSignal): Promise<LayoutSummary> {
    this.journal.progress.clip(fileSize);
    return this.layOut(false, signal);
  }

  /** Reports whether the file begins with the head of this plan. */
  async hasHead(): Promise<boolean> {
    return (await this.#digestOnDisk()) === this.journal.get('head');
  }

  /** In order, writes everything that is known before a position: the caller writes the content that begins there next. */
  reach(position: number): void {
    this.#ordered?.advanceTo(position);
  }

  /** Writes the end-of-archive blocks behind the last blob. */
  writeEnd(): void {
    this.reach(this.#size);
    this.file.writevSync([Buffer.alloc(endLength)], this.#size - endLength);
  }

  get #size(): number {
    return Number(this.journal.get('size'));
  }

  get #created(): number {
    return Number(this.journal.get('created'));
  }

  /** Totals of the laid-out plan. */
  summary(): LayoutSummary {
    const { contents, count } = this.journal.placement.totals();
    const { blobs, bytes, written } = this.journal.progress.totals();
    let signatures = 0;
    for (const reference of this.journal.references())
      if (isCompanionTag(parseReference(reference).tag)) signatures++;
    return {
      size: this.#size,
      images: this.journal.imageCount,
      signatures,
      blobs: count,
      blobBytes: contents,
      pendingBlobs: blobs,
      pendingBytes: bytes,
      writtenBytes: written,
    };
  }

  async #withHead<Result>(use: (head: HeadEntry[]) => Promise<Result>): Promise<Result> {
    const path = `${this.file.path}.catalog`;
    try {
      const { signing, about } = this.options;
      const time = new Date(this.#created * 1000);
      await buildCatalog(this.journal, path, { ...about, created: formatTime(time) });
      const sign = signing && ((sums: Iterable<Uint8Array>): Uint8Array => signSums(sums, signing, time));
      return await use(
        composeHead(this.journal.placement, path, { trustedRoot: about?.[trustedRootName], sign }),
      );
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
    for await (const chunk of this.file.stream(0, this.journal.start)) hash.update(chunk as Buffer);
    return hash.digest('hex');
  }

  /**
   * Sets the file to its final length and writes the head (if given), every header and padding, and the contents that the journal
   * holds.
   * @returns false if the journal proves damaged
   */
  async #writeKnown(head: HeadEntry[] | undefined): Promise<boolean> {
    const { size, allocated } = await this.file.stat();
    await checkLimits(this.file.path.replace(/\.partial$/, ''), this.#size, this.journal.get('volumeSize'));
    await checkDiskSpace(this.file.path, this.#size - allocated);
    if (this.isInOrder) return this.#writeInOrder(head, size);
    if (size !== this.#size) await this.file.resize(this.#size);
    const writer = new GatheringWriter(this.file);
    if (!(await this.#eachKnown(head, (bytes, position) => writer.put(bytes, position)))) return false;
    writer.flush();
    return true;
  }

  /** Writes what is known before the first blob that has to be downloaded. */
  async #writeInOrder(head: HeadEntry[] | undefined, size: number): Promise<boolean> {
    const { journal, file } = this;
    if (!(await this.#eachKnown(undefined, () => undefined))) return false;
    if (size > this.#size) await file.resize(this.#size);
    this.#ordered = new OrderedWriter(file, knownPieces(journal, head));
    const [first] = journal.placement.pagesWithoutContent()[Symbol.iterator]().next().value ?? [];
    this.reach(first === undefined ? this.#size : journal.start + first.offset);
    return true;
  }

  /** Calls `use` for everything that is known; returns false if the journal proves damaged. */
  async #eachKnown(
    head: HeadEntry[] | undefined,
    use: (bytes: Uint8Array, position: number) => void,
  ): Promise<boolean> {
    let count = 0;
    for (const { bytes, position, digest } of knownPieces(this.journal, head)) {
      if (digest !== undefined && digestOf(bytes, algorithmOf(digest)) !== digest) return false;
      use(bytes, position);
      // Lets signals and timers through.
      if (++count % piecesAtATime === 0) await new Promise(setImmediate);
    }
    return true;
  }

  /** Marks what an earlier run seems to have written, judging by the file alone. */
  async #markWritten(): Promise<void> {
    const { start } = this.journal;
    for (const page of this.journal.placement.pagesWithoutContent()) {
      const marks = page
        .map(({ digest, size, offset }) => ({
          digest,
          have: writtenPrefix(this.file, start + offset, size),
          done: false,
        }))
        .filter(({ have }) => have > 0);
      this.journal.recordMarks(marks);
      await new Promise(setImmediate);
    }
  }
}

/** Bytes read at a time. */
const chunkSize = 1024 * 1024;
const zeros = Buffer.alloc(chunkSize);

/** Returns the length of a region up to its last byte that is not zero. Holes of a sparse file read as zeros. */
function writtenPrefix(file: BundleFile, position: number, length: number): number {
  const chunk = Buffer.allocUnsafe(chunkSize);
  for (let end = length; end > 0;) {
    const begin = Math.max(0, end - chunkSize);
    const count = file.readSync(chunk.subarray(0, end - begin), position + begin);
    if (chunk.compare(zeros, 0, count, 0, count) !== 0) {
      let last = count;
      while (chunk[last - 1] === 0) last--;
      return begin + last;
    }
    end = begin;
  }
  return 0;
}
