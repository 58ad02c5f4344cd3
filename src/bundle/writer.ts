import { rename, rm } from 'node:fs/promises';
import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Image } from '../oci/source.js';
import { BundleFile } from './file.js';
import { ioError } from './io-error.js';
import { journalError } from './journal-database.js';
import { Journal, type BlobNode, type EdgeRole, type LeftOut, type ManifestNode } from './journal.js';
import { Layout, type LayoutSummary } from './layout.js';
import { Marks } from './marks.js';
import { forgetOwner, openJournal, refuseExisting, refuseOther, syncDirectory } from './output-name.js';
import { pendingBlobs, pendingFigures, type PendingBlob } from './pending.js';
import { isTarTime } from './tar.js';

export type { PendingBlob } from './pending.js';

export interface BundleOptions {
  /** The modification time of every entry, and `created` in the catalog; whole seconds count. */
  readonly created: Date;
  /** Says what was asked for: the same command gives the same text, whenever it is run. */
  readonly fingerprint: string;
  /** Take the place of a file that has the final name already, once the new one is whole. */
  readonly replace?: boolean | undefined;
}

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
  /** The file held bytes before this run planned it. */
  readonly #isSalvage: boolean;
  #summary: LayoutSummary | undefined;
  #isClosed = false;

  private constructor(
    /** The final name. */
    readonly path: string,
    parts: { journal: Journal; file: BundleFile; layout: Layout; marks: Marks; isSalvage: boolean },
    private readonly isReplacing: boolean,
    summary: LayoutSummary | undefined,
  ) {
    this.#journal = parts.journal;
    this.#file = parts.file;
    this.#layout = parts.layout;
    this.#marks = parts.marks;
    this.#isSalvage = parts.isSalvage;
    this.#summary = summary;
  }

  /**
   * Begins a bundle or takes up an interrupted one.
   * @throws AirliftError `exists` where the final name is taken, `busy` where another run writes it, `conflict` where an
   * interrupted run was asked for something else, `no-space` where that one no longer fits, `io`
   */
  static async open(path: string, options: BundleOptions): Promise<BundleWriter> {
    const seconds = Math.floor(options.created.getTime() / 1000);
    if (!isTarTime(seconds)) {
      throw new AirliftError('usage', `write ${path}: ${seconds} is no time that tar can hold`, {
        hint: 'check SOURCE_DATE_EPOCH: seconds since 1970, not negative',
      });
    }
    if (options.replace !== true) await refuseExisting(path);
    const journal = openJournal(path);
    let file: BundleFile | undefined;
    try {
      // Another run may have finished between the first look and the lock.
      if (options.replace !== true) await refuseExisting(path);
      file = await BundleFile.open(`${path}.partial`, 'create');
      const isSalvage = (await file.stat()).size > 0;
      const layout = new Layout(journal, file);
      const isSound = layout.isSound();
      if (isSound && journal.get('fingerprint') !== options.fingerprint)
        refuseOther(path, String(journal.get('fingerprint')), options.fingerprint);
      const summary = isSound ? await layout.restore() : undefined;
      if (summary === undefined) {
        journal.restart();
        journal.set('fingerprint', options.fingerprint);
        journal.set('created', seconds);
      }
      const marks = new Marks(journal);
      return new BundleWriter(
        path,
        { journal, file, layout, marks, isSalvage },
        options.replace === true,
        summary,
      );
    } catch (error) {
      await file?.close();
      journal.close();
      forgetOwner(path);
      throw journalError(`open ${path}.partial.journal`, error);
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
  addManifest(node: ManifestNode): void {
    this.#plan(() => this.#journal.addManifest(node));
  }

  /** @throws AirliftError `conflict` where two descriptors disagree on the size, `no-space`, `io` */
  addBlob(blob: BlobNode): void {
    this.#plan(() => this.#journal.addBlob(blob));
  }

  /** Records a blob that the plan names but the bundle does not carry. */
  leaveOut(descriptor: Descriptor, role: 'config' | 'layer', reason: LeftOut): void {
    this.#plan(() => this.#journal.leaveOut(descriptor, role, reason));
  }

  /**
   * Ties a child to its parent; both may be added before or after.
   * @param position which of the parent's children of this role, from 0
   */
  addEdge(parent: Digest, child: Digest, role: EdgeRole, position: number): void {
    this.#plan(() => this.#journal.addEdge(parent, child, role, position));
  }

  /** Whether the content is part of the plan already. */
  has(digest: Digest): boolean {
    return this.#journal.has(digest);
  }

  #plan(add: () => void): void {
    if (this.#summary !== undefined)
      throw new AirliftError('conflict', `plan ${this.path}: the bundle is laid out already`);
    try {
      add();
    } catch (error) {
      throw journalError(`write ${this.#journal.path}`, error);
    }
  }

  /**
   * Ends planning: every offset, the catalog and the digests are fixed, and all that is known is written.
   * @throws AirliftError `input` where the plan is not whole, `no-space` with both figures, `io`
   */
  async layOut(): Promise<LayoutSummary> {
    try {
      this.#summary ??= await this.#layout.layOut(this.#isSalvage);
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

  /** The first `have` bytes of a blob are written. */
  progress(digest: Digest, have: number): void {
    this.#marks.progress(digest, have);
  }

  /** All of a blob is written, and its digest was found right. */
  complete(digest: Digest): void {
    this.#marks.complete(digest);
  }

  /**
   * Ends a bundle whose blobs are all complete: waits for the disk, then gives the file its final name.
   * @throws AirliftError `partial` where blobs are missing, `exists` where the final name was taken meanwhile, `io`
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
    this.#layout.writeEnd();
    await this.#file.sync();
    if (!this.isReplacing) await refuseExisting(this.path);
    try {
      await rename(this.partialPath, this.path);
    } catch (error) {
      throw ioError(`rename ${this.partialPath} to ${this.path}`, error);
    }
    await syncDirectory(this.path);
    await this.#release();
    Journal.remove(this.#journal.path);
  }

  /** Stops here, where it was not finished or discarded; what is written stays for another run of the same command. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    // A plan that was not laid out is made anew by the next run: there is nothing to keep.
    if (this.#journal.get('state') !== 'laid-out' && !this.#isSalvage) return await this.discard();
    try {
      this.#marks.flush();
    } finally {
      await this.#release();
    }
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
    this.#journal.close();
    forgetOwner(this.path);
  }
}
