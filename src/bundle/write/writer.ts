import { rename, rm } from 'node:fs/promises';
import { AirliftError } from '../../errors.js';
import type { Digest } from '../../oci/digest.js';
import type { Image } from '../../oci/source.js';
import { checkWritten } from '../verify/check-front.js';
import {
  dropImagesOf,
  forgetFailure,
  imagesOf,
  listFailures,
  noteFailure,
  type Failure,
  type LostBlob,
} from '../journal/failures.js';
import type { BundleFile } from '../format/file.js';
import { ioError } from '../format/io-error.js';
import { journalError } from '../journal/journal-database.js';
import { Journal } from '../journal/journal.js';
import type { Layout, LayoutSummary } from './layout.js';
import { Marks } from '../journal/progress-marks.js';
import {
  hasJournal,
  openJournal,
  refuseDirectory,
  refuseExisting,
  syncDirectory,
  tidy,
} from './output-name.js';
import type { BundleOptions } from './options.js';
import { pendingBlobs, pendingFigures, type PendingBlob } from '../journal/pending.js';
import type { LeftOut, PlannedBlob, PlannedManifest } from '../format/planned.js';
import { takeUp, type TakenUp } from './resume.js';
import { isTarTime } from '../../tar/header.js';

export type { BundleOptions } from './options.js';
export type { Failure, LostBlob } from '../journal/failures.js';
export type { Checkpoint, PendingBlob } from '../journal/pending.js';

/** What is known of an image beside its graph. */
export interface ImageInfo {
  /** The manifest that a tag like cosign's `sha256-….sig` belongs to, for images that nobody asked for by name. */
  readonly companionOf?: Digest | undefined;
}

/**
 * Writes a bundle: takes the plan, lays the file out, hands out the blobs that are to be fetched, and gives the file its
 * name when all of them are there. Until then it is `NAME.partial` beside `NAME.partial.journal`.
 *
 * What is on the disk when: docs/bundle-format.md, "While a bundle is written".
 */
export class BundleWriter {
  readonly #journal: Journal;
  readonly #file: BundleFile;
  readonly #layout: Layout;
  readonly #marks: Marks;
  /** An earlier run ended right after it gave the bundle its name. */
  readonly #isNamed: boolean;
  #isSalvage: boolean;
  #summary: LayoutSummary | undefined;
  /** What was laid out before the plan was changed. */
  #before: LayoutSummary | undefined;
  #isClosed = false;

  private constructor(
    /** The final name. */
    readonly path: string,
    journal: Journal,
    taken: TakenUp,
    private readonly options: BundleOptions,
  ) {
    this.#journal = journal;
    this.#marks = new Marks(journal);
    this.#file = taken.file;
    this.#layout = taken.layout;
    this.#summary = taken.summary;
    this.#isNamed = taken.isNamed;
    this.#isSalvage = taken.isSalvage;
  }

  /**
   * Begins a bundle or takes up an interrupted one.
   * @throws AirliftError `exists` where the final name is taken, `busy` where another run writes it, `conflict` where an
   * interrupted run was asked for something else, `no-space` where that one no longer fits, `interrupted`, `io`
   */
  static async open(path: string, options: BundleOptions): Promise<BundleWriter> {
    await refuseDirectory(path, '-o', 'site.tar');
    const seconds = Math.floor(options.created.getTime() / 1000);
    if (!isTarTime(seconds)) {
      throw new AirliftError('usage', `write ${path}: ${seconds} is no time that tar can hold`, {
        hint: 'check SOURCE_DATE_EPOCH: seconds since 1970, not negative',
      });
    }
    if (options.replace !== true && !hasJournal(path)) await refuseExisting(path);
    const isNew = !hasJournal(path);
    const journal = openJournal(path);
    try {
      const taken = await takeUp(journal, path, { ...options, created: seconds });
      return new BundleWriter(path, journal, taken, options);
    } catch (error) {
      journal.close();
      if (isNew) Journal.remove(journal.path);
      tidy(path);
      throw journalError(`open ${journal.path}`, error);
    }
  }

  /** The file that workers open and write blobs to. */
  get partialPath(): string {
    return this.#file.path;
  }

  /** The time that the bundle bears: that of the run which planned it. */
  get created(): Date {
    return new Date(Number(this.#journal.get('created')) * 1000);
  }

  /** `laid-out`: an interrupted run was asked for the same and laid it out; its plan holds, go on with `pending()`. */
  get state(): 'planning' | 'laid-out' {
    return this.#summary === undefined ? 'planning' : 'laid-out';
  }

  /** Keeps what the planner wants to know of an image of its list later, in the place of what it said before. */
  note(position: number, text: string): void {
    this.#plan(() => this.#journal.note(position, text));
  }

  /** What was noted, by position. */
  notes(): Iterable<string> {
    return this.#journal.notes();
  }

  hasImage(reference: string): boolean {
    return this.#journal.hasImage(reference);
  }

  /** The platforms of the images in the plan, `os/architecture[/variant]`, sorted. */
  platforms(): string[] {
    return this.#journal.platforms();
  }

  /** What was laid out. */
  get summary(): LayoutSummary | undefined {
    return this.#summary;
  }

  /** @throws AirliftError `conflict` where the reference was added with another root, `no-space`, `io` */
  addImage(image: Image, info: ImageInfo = {}): void {
    this.#plan(() => this.#journal.addImage(image, info.companionOf));
  }

  /** @throws AirliftError `size-mismatch`, `conflict` where two descriptors disagree on the size, `no-space`, `io` */
  addManifest(node: PlannedManifest): void {
    this.#plan(() => this.#journal.addManifest(node));
  }

  /** @throws AirliftError `conflict` where two descriptors disagree on the size, `no-space`, `io` */
  addBlob(blob: PlannedBlob): void {
    this.#plan(() => this.#journal.addBlob(blob));
  }

  /** Records a blob that the plan names but that the bundle does not carry. */
  leaveOut(blob: Pick<PlannedBlob, 'descriptor' | 'role'>, reason: LeftOut = 'foreign'): void {
    this.#plan(() => this.#journal.leaveOut(blob, reason));
  }

  /** Notes an image that is not in the bundle because it failed; it is carried by the journal from run to run. */
  addFailure(failure: Failure): void {
    this.#write(() => noteFailure(this.#journal, failure));
  }

  /** An image that failed in an earlier run was planned. */
  forgetFailure(image: string): void {
    this.#write(() => forgetFailure(this.#journal, image));
  }

  /** The images that failed, in this run or in the interrupted one that planned. */
  failures(): Failure[] {
    return listFailures(this.#journal);
  }

  /**
   * Begins to plan more images for a bundle that is laid out, until `layOut` or `takeBack`. A run that ends before leaves the
   * plan as it was.
   */
  extend(): void {
    this.#marks.flush();
    this.#journal.hold();
    this.#before = this.#summary;
    this.#summary = undefined;
  }

  /** Takes back what was planned since `extend`. */
  takeBack(): void {
    this.#journal.rollBack();
    this.#summary = this.#before;
  }

  /**
   * Takes out of the laid-out bundle the images that blobs belong to which can't be had. `layOut` is to be called again; what
   * is written of the others is kept.
   * @returns their references, or undefined where no image that was asked for would be left: then nothing is changed
   */
  dropImages(lost: readonly LostBlob[]): string[] | undefined {
    this.extend();
    const dropped = lost.flatMap((blob) => dropImagesOf(this.#journal, blob));
    if (this.#journal.imagesAskedFor > 0) return dropped;
    this.takeBack();
    return undefined;
  }

  /** The images of the plan that a blob belongs to. */
  imagesOf(digest: Digest): string[] {
    return imagesOf(this.#journal, digest);
  }

  /** The content of a manifest or config, where an interrupted run fetched it while planning. */
  content(digest: Digest): Buffer | undefined {
    return this.#journal.content(digest);
  }

  /** Whether the content is part of the plan already. */
  has(digest: Digest): boolean {
    return this.#journal.has(digest);
  }

  #plan(add: () => void): void {
    if (this.#summary !== undefined)
      throw new AirliftError('conflict', `plan ${this.path}: the bundle is laid out already`);
    this.#write(add);
  }

  #write(change: () => void): void {
    try {
      change();
    } catch (error) {
      throw journalError(`write ${this.#journal.path}`, error);
    }
  }

  /**
   * Ends planning: every offset, the catalog and the digests are fixed, and all that is known is written.
   * @throws AirliftError `input` where the plan is not whole, `no-space` with both figures, `interrupted`, `io`
   */
  async layOut(): Promise<LayoutSummary> {
    try {
      this.#summary ??= await this.#layout.layOut(this.#isSalvage, this.options.signal);
      this.#isSalvage = false;
      await syncDirectory(this.path);
      return this.#summary;
    } catch (error) {
      throw journalError(`lay out ${this.path}`, error);
    }
  }

  /** The blobs that this run has not finished yet, largest first; those that an earlier run finished too, to be checked. */
  pending(): Iterable<PendingBlob> {
    this.#marks.flush();
    return pendingBlobs(this.#journal);
  }

  /**
   * The first `have` bytes of a blob are written.
   * @param checkpoint their digest, by the blob's own algorithm: what the next run compares them with
   * @throws AirliftError `no-space`, `io`
   */
  progress(digest: Digest, have: number, checkpoint?: Uint8Array): void {
    this.#marks.progress(digest, have, checkpoint);
  }

  /** All of a blob is written, and its digest was found right. */
  complete(digest: Digest): void {
    this.#marks.complete(digest);
  }

  /**
   * Ends a bundle whose blobs are all complete: waits for the disk, checks the head and all manifests as `verify` does, then gives
   * the file its final name.
   * @throws AirliftError `partial` where blobs are missing, `damaged` where `verify` would refuse the file, `exists` where the final
   * name was taken meanwhile, `interrupted`, `io`
   */
  async finish(): Promise<void> {
    this.#marks.flush();
    const { blobs } = pendingFigures(this.#journal);
    if (this.#summary === undefined || blobs > 0) {
      throw new AirliftError(
        'partial',
        `finish ${this.path}: not whole; got ${(this.#summary?.blobs ?? 0) - blobs} blobs, want ${this.#summary?.blobs ?? 'a plan'}`,
      );
    }
    if (!this.#isNamed) await this.#nameFile();
    await this.#release();
    Journal.remove(this.#journal.path);
  }

  async #nameFile(): Promise<void> {
    this.#layout.writeEnd();
    await this.#file.sync();
    await checkWritten(this.partialPath, this.options.signal);
    if (this.options.replace !== true) await refuseExisting(this.path);
    try {
      await rename(this.partialPath, this.path);
    } catch (error) {
      throw ioError(`rename ${this.partialPath} to ${this.path}`, error);
    }
    await syncDirectory(this.path);
  }

  /** Stops here, where it was not finished or discarded; what is written stays for another run of the same command. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#summary === undefined) return await this.#closePlan();
    try {
      this.#marks.flush();
    } finally {
      await this.#release();
    }
  }

  /** Gives a plan up that can't be made; blobs that an earlier run wrote stay. */
  async discardPlan(): Promise<void> {
    if ((await this.#file.stat()).size === 0) await this.discard();
  }

  /** Keeps what planning fetched, where that is anything. */
  async #closePlan(): Promise<void> {
    if ((await this.#file.stat()).size > 0) return await this.#release();
    if (!this.#journal.isWorthKeeping) return await this.discard();
    await rm(this.partialPath, { force: true });
    await this.#release();
  }

  /** Gives the bundle up and removes what was written. */
  async discard(): Promise<void> {
    // While the journal is held, nobody else can have begun to write the file anew.
    await rm(this.partialPath, { force: true });
    await this.#release();
    Journal.remove(this.#journal.path);
  }

  async #release(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#marks.stop();
    await this.#file.close();
    this.#write(() => this.#journal.close());
    tidy(this.path);
  }
}
