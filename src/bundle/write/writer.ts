import { rename } from 'node:fs/promises';
import { AirliftError } from '../../errors.js';
import { refuseDirectory } from '../../io/directories.js';
import type { Digest } from '../../oci/digest.js';
import type { Image } from '../../oci/source.js';
import { isTarTime } from '../../tar/header.js';
import type { BundleFile } from '../format/file.js';
import { ioError } from '../format/io-error.js';
import type { LeftOut, PlannedBlob, PlannedManifest } from '../format/planned.js';
import type { PlannedBase } from '../journal/base.js';
import type { Failure, LostBlob } from '../journal/failures.js';
import { journalError } from '../journal/journal-database.js';
import { Journal } from '../journal/journal.js';
import { MarkBatcher, type PendingBlob } from '../journal/progress.js';
import { checkWritten } from '../verify/check-front.js';
import type { Layout, LayoutSummary } from './layout.js';
import { filesystemOf } from './file-limit.js';
import { finishVolumes, partialPlace, refuseTaken, removeWritten } from './output-volumes.js';
import type { BundlePlace } from '../format/volumes/files.js';
import { hasJournal, openJournal, removeNotes, syncDirectory } from './output-name.js';
import { nameFingerprint, resumeBundle, type BundleOptions, type ResumedBundle } from './resume.js';

export type { BundleOptions } from './resume.js';
export type { Failure, LostBlob } from '../journal/failures.js';
export type { Checkpoint, PendingBlob } from '../journal/progress.js';

/** Facts about an image beside its graph. */
export interface ImageInfo {
  /**
   * The manifest that a tag like cosign's `sha256-….sig` belongs to. Undefined for images of the list, even if they are such
   * signatures.
   */
  readonly companionOf?: Digest | undefined;
}

/**
 * Writes a bundle: collects the plan, lays the file out, lists the blobs to download, and gives the file its name once all blobs are
 * complete. Until then the file is `NAME.partial` beside `NAME.partial.journal`. It is a sink for planners.
 *
 * What is on the disk at which time: docs/bundle-format.md, "While a bundle is written".
 */
export class BundleWriter {
  readonly #journal: Journal;
  readonly #file: BundleFile;
  readonly #layout: Layout;
  readonly #marks: MarkBatcher;
  /** An earlier run ended right after it renamed the bundle to its final name. */
  readonly #isNamed: boolean;
  #isSalvage: boolean;
  #summary: LayoutSummary | undefined;
  /** The layout before the plan was extended. */
  #before: LayoutSummary | undefined;
  #isClosed = false;

  private constructor(
    /** The final name. */
    readonly path: string,
    journal: Journal,
    resumed: ResumedBundle,
    private readonly options: BundleOptions,
  ) {
    this.#journal = journal;
    this.#marks = new MarkBatcher(journal.path, (marks) => journal.recordMarks(marks));
    this.#file = resumed.file;
    this.#layout = resumed.layout;
    this.#summary = resumed.summary;
    this.#isNamed = resumed.isNamed;
    this.#isSalvage = resumed.isSalvage;
  }

  /**
   * Starts a bundle, or resumes an interrupted one.
   * @throws AirliftError `exists` if the final name is taken, `busy` if another run is writing it, `conflict` if an interrupted run was
   *   for other content, `no-space` if the plan of that run no longer fits the disk, `interrupted`, `io`
   */
  static async open(path: string, options: BundleOptions): Promise<BundleWriter> {
    await refuseDirectory(path, '`output`', 'site.tar');
    const seconds = Math.floor(options.created.getTime() / 1000);
    if (!isTarTime(seconds)) {
      throw new AirliftError('usage', `write ${path}: tar cannot store the time ${seconds}`, {
        hint: 'check SOURCE_DATE_EPOCH: seconds since 1970, not negative',
      });
    }
    if (options.replace !== true && !hasJournal(path)) await refuseTaken(path, options.volumeSize);
    const isNew = !hasJournal(path);
    const journal = openJournal(path);
    try {
      const isInOrder = (await filesystemOf(path)) !== undefined;
      const resumed = await resumeBundle(journal, path, { ...options, created: seconds, isInOrder });
      return new BundleWriter(path, journal, resumed, options);
    } catch (error) {
      journal.close();
      if (isNew) Journal.remove(journal.path);
      removeNotes(path);
      throw journalError(`open ${journal.path}`, error);
    }
  }

  /** The file or volumes that workers open and write blobs to. */
  get partial(): BundlePlace {
    const { volumeSize } = this.options;
    if (!this.#isNamed) return partialPlace(this.path, volumeSize);
    return volumeSize === undefined ? this.path : { path: this.path, volumeSize };
  }

  /** Path of the bundle while it is written; of volumes, without their numbers. */
  get partialPath(): string {
    return this.#file.path;
  }

  /** The time recorded in the bundle: that of the run which planned it. */
  get created(): Date {
    return new Date(Number(this.#journal.get('created')) * 1000);
  }

  /** `laid-out`: the plan is complete, possibly by an interrupted run of the same command; `pending()` lists what is missing. */
  get state(): 'planning' | 'laid-out' {
    return this.#summary === undefined ? 'planning' : 'laid-out';
  }

  /** Totals of the layout; undefined while planning. */
  get summary(): LayoutSummary | undefined {
    return this.#summary;
  }

  /** Records a text of the planner about an image of its list; replaces the text that the position had before. */
  addNote(position: number, text: string): void {
    this.#plan(() => this.#journal.addNote(position, text));
  }

  /** Yields the notes by position. */
  notes(): Iterable<string> {
    return this.#journal.notes();
  }

  hasImage(reference: string): boolean {
    return this.#journal.hasImage(reference);
  }

  /** Lists the platforms of the images in the plan, `os/architecture[/variant]`, sorted. */
  platforms(): string[] {
    return this.#journal.platforms();
  }

  /** @throws AirliftError `conflict` if the reference was added with another root, `no-space`, `io` */
  addImage(image: Image, info: ImageInfo = {}): void {
    this.#plan(() => this.#journal.addImage(image, info.companionOf));
  }

  /** @throws AirliftError `size-mismatch`, `conflict` if two descriptors disagree on the size, `no-space`, `io` */
  addManifest(node: PlannedManifest): void {
    this.#plan(() => this.#journal.addManifest(node));
  }

  /** @throws AirliftError `conflict` if two descriptors disagree on the size, `no-space`, `io` */
  addBlob(node: PlannedBlob): void {
    this.#plan(() => this.#journal.addBlob(node));
  }

  /** Records a blob that the plan names but that the bundle does not carry. */
  leaveOut(node: Pick<PlannedBlob, 'descriptor' | 'role'>, reason: LeftOut = 'foreign'): void {
    this.#plan(() => this.#journal.leaveOut(node, reason));
  }

  /** Changes the part of the plan that makes the bundle a delta. */
  changeBase(change: (base: PlannedBase) => void): void {
    this.#plan(() => this.#journal.changeBase(change));
  }

  /** The part of the plan that makes the bundle a delta. */
  get base(): Pick<PlannedBase, 'isLayer' | 'layersOf' | 'repositories' | 'totals'> {
    return this.#journal.base;
  }

  /** Reports whether the plan carries the blob. */
  has(digest: Digest): boolean {
    return this.#journal.has(digest);
  }

  /** Returns the content of a manifest or config that an interrupted run fetched while planning. */
  content(digest: Digest): Buffer | undefined {
    return this.#journal.content(digest);
  }

  /** Records an image that failed, for this run and for the next one, which retries it. */
  addFailure(failure: Failure): void {
    this.#write(() => this.#journal.failures.record(failure));
  }

  /** Removes the failure of an image that is planned now. */
  forgetFailure(image: string): void {
    this.#write(() => this.#journal.failures.forget(image));
  }

  /** Lists the images that failed, in this run or in the interrupted run that planned the bundle. */
  failures(): Failure[] {
    return this.#journal.failures.list();
  }

  /** Lists the images of the plan that need a blob. */
  imagesWith(digest: Digest): string[] {
    return this.#journal.failures.imagesWith(digest);
  }

  /**
   * Reopens the plan of a laid-out bundle for more images, until `layOut` or `revertExtension`. If the run ends before, the plan stays
   * as it was.
   */
  extend(): void {
    this.#marks.flush();
    this.#journal.beginChange();
    this.#before = this.#summary;
    this.#summary = undefined;
  }

  /** Discards what was planned since `extend`. */
  revertExtension(): void {
    this.#journal.rollBackChange();
    this.#summary = this.#before;
  }

  /**
   * Removes the images that need lost blobs from a laid-out bundle. The caller calls `layOut` next; what is written of the other images
   * is kept.
   * @returns the references of the removed images, or undefined if no image of the list would be left: then nothing has changed
   */
  dropImages(lost: readonly LostBlob[]): string[] | undefined {
    this.extend();
    const dropped = lost.flatMap((blob) => this.#journal.failures.dropImagesWith(blob));
    if (this.#journal.listedImageCount > 0) return dropped;
    this.revertExtension();
    return undefined;
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
   * Ends planning: fixes every offset, the catalog and the digests, and writes all that is known.
   * @throws AirliftError `input` if the plan is incomplete, `no-space` with both figures, `interrupted`, `io`
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

  /** Whether blobs are written one at a time, in the order of `pending()`. */
  get isInOrder(): boolean {
    return this.#layout.isInOrder;
  }

  /**
   * Yields the blobs that this run has not finished, largest first, or in file order if `isInOrder`; blobs that an earlier run finished are
   * checked again.
   */
  *pending(): Iterable<PendingBlob> {
    this.#marks.flush();
    for (const blob of this.#journal.pending(this.isInOrder)) {
      this.#layout.reach(blob.position);
      yield blob;
    }
  }

  /**
   * Records that the first `have` bytes of a blob are written.
   * @param checkpoint their digest in the blob's own algorithm, which the next run compares
   * @throws AirliftError `no-space`, `io`
   */
  progress(digest: Digest, have: number, checkpoint?: Uint8Array): void {
    this.#marks.progress(digest, have, checkpoint);
  }

  /** Records that a blob is written completely and that its digest is right. */
  complete(digest: Digest): void {
    this.#marks.complete(digest);
  }

  /**
   * Finishes a bundle whose blobs are all complete: waits for the disk, checks the head and all manifests as `verify` does, and gives
   * the file its final name.
   * @param onNamed called when the file has its final name. If the process ends or it fails before it is done, the next run of the same
   *   command calls it again.
   * @throws AirliftError `partial` if blobs are missing, `damaged` if `verify` would reject the file, `exists` if the final name has
   *   been taken in the meantime, `interrupted`, `io`
   */
  async finish(onNamed?: () => Promise<void>): Promise<void> {
    this.#marks.flush();
    const { blobs } = this.#journal.progress.totals();
    if (this.#summary === undefined || blobs > 0) {
      throw new AirliftError(
        'partial',
        `finish ${this.path}: incomplete; got ${(this.#summary?.blobs ?? 0) - blobs} blobs, want ${this.#summary?.blobs ?? 'a plan'}`,
      );
    }
    if (!this.#isNamed) await this.#nameFile();
    await onNamed?.();
    await this.#release();
    Journal.remove(this.#journal.path);
  }

  /**
   * Lets the next run find the named bundle, too, if its fingerprint is this one: what `onNamed` writes can be a part of the command's
   * input. On the disk when it returns.
   */
  acceptFingerprint(fingerprint: string): void {
    this.#write(() => {
      this.#journal.set('nextFingerprint', nameFingerprint(fingerprint, this.options.volumeSize));
      this.#journal.seal();
    });
  }

  async #nameFile(): Promise<void> {
    this.#layout.writeEnd();
    await this.#file.sync();
    const { replace, signal, volumeSize } = this.options;
    await checkWritten(this.partial, signal);
    if (replace !== true) await refuseTaken(this.path, volumeSize);
    if (volumeSize !== undefined)
      return await finishVolumes(this.path, this.#summary?.size ?? 0, volumeSize, signal);
    try {
      await rename(this.partialPath, this.path);
    } catch (error) {
      throw ioError(`rename ${this.partialPath} to ${this.path}`, error);
    }
    await syncDirectory(this.path);
  }

  /** Closes the files and keeps what is written for the next run of the same command. Does nothing after `finish` or `discard`. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#summary === undefined) return await this.#closePlan();
    try {
      this.#marks.flush();
    } finally {
      await this.#release();
    }
  }

  /** Discards a plan that cannot be carried out; blobs that an earlier run wrote stay. */
  async discardPlan(): Promise<void> {
    if ((await this.#file.stat()).size === 0) await this.discard();
  }

  /** Keeps what planning fetched, if anything. */
  async #closePlan(): Promise<void> {
    if ((await this.#file.stat()).size > 0) return await this.#release();
    if (!this.#journal.hasContents) return await this.discard();
    await removeWritten(this.path);
    await this.#release();
  }

  /** Abandons the bundle and removes what was written. */
  async discard(): Promise<void> {
    // The journal's lock guarantees that no other run has started to write the file.
    await removeWritten(this.path);
    await this.#release();
    Journal.remove(this.#journal.path);
  }

  async #release(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#marks.stop();
    await this.#file.close();
    this.#write(() => this.#journal.close());
    removeNotes(this.path);
  }
}
