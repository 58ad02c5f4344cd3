import { closeSync, openSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Scratch } from '../../archive/io/scratch.js';
import { BundleFile } from '../../bundle/format/file.js';
import { ioError } from '../../bundle/format/io-error.js';
import type { FoundVolume } from '../../bundle/format/volumes/find.js';
import type { BundleFiles, Spot } from '../../bundle/format/volumes/files.js';
import { AirliftError } from '../../errors.js';

/** A part of the bundle in an open file. */
interface Part {
  readonly descriptor: number;
  /** Name of the file, for messages. */
  readonly path: string;
  /** Position in the file. */
  readonly offset: number;
  /** Positions in the bundle. */
  readonly start: number;
  readonly end: number;
}

/**
 * The bytes of a bundle that can be read while its volumes come one after another. They lie in the present volume and in two copies: one of
 * the front of the bundle, one of the first bytes of a blob that began in an earlier volume and continues in the present one. The copies are
 * temporary files that are unlinked while they are open, so the system removes them when the process ends.
 */
export class HeldVolumes implements BundleFiles {
  /** False: errors of reading need not name volumes, since each is compared with the list before it is read. */
  readonly isSplit = false;
  #volume: Part | undefined;
  #border: { readonly scratch: Scratch; readonly blobStart: number; readonly parts: Part[] } | undefined;
  #frontEnd = 0;
  #isSealed = false;

  private constructor(
    /** The bundle's name in messages. */
    readonly path: string,
    private readonly volumes: readonly FoundVolume[],
    private readonly front: Scratch,
    private readonly tmpDir: string | undefined,
  ) {}

  /**
   * @param tmpDir directory for copies; default: the system's temporary directory
   * @throws AirliftError `io`
   */
  static async create(
    path: string,
    volumes: readonly FoundVolume[],
    tmpDir: string | undefined,
  ): Promise<HeldVolumes> {
    return new HeldVolumes(path, volumes, await Scratch.create(tmpDir), tmpDir);
  }

  /** Position behind the copied front. */
  get frontEnd(): number {
    return this.#frontEnd;
  }

  /** Opens a volume in place of the last one. */
  insert({ start, size }: FoundVolume, path: string): void {
    this.eject();
    try {
      this.#volume = { descriptor: openSync(path, 'r'), path, offset: 0, start, end: start + size };
    } catch (error) {
      throw ioError(`open ${path}`, error, { isInput: true });
    }
  }

  /** Closes the volume, so that its medium can be removed. */
  eject(): void {
    if (this.#volume !== undefined) closeSync(this.#volume.descriptor);
    this.#volume = undefined;
  }

  /**
   * Copies the bytes up to `end` that are not copied yet: they stay readable until `close`.
   * @throws AirliftError `no-space`, `io`
   */
  async keepFront(end: number, signal?: AbortSignal): Promise<void> {
    await this.#append(this.front, this.#frontEnd, end, signal);
    this.#frontEnd = end;
  }

  /**
   * Copies what the volume has of the blob that starts at `blobStart` and reaches into the next one. Drops the copy of another blob.
   * @throws AirliftError `no-space`, `io`
   */
  async keepBorder(blobStart: number, signal?: AbortSignal): Promise<void> {
    if (this.#volume === undefined) return;
    if (this.#border?.blobStart !== blobStart) await this.dropBorder();
    this.#border ??= { scratch: await Scratch.create(this.tmpDir), blobStart, parts: [] };
    const { scratch, parts } = this.#border;
    const [start, { end }] = [parts.at(-1)?.end ?? blobStart, this.#volume];
    // Behind what a failed attempt has left.
    const offset = scratch.end.position;
    await this.#append(scratch, start, end, signal);
    parts.push(this.#partOf(scratch, offset, start, end));
  }

  /** Drops the copy of a blob at a border. */
  async dropBorder(): Promise<void> {
    await this.#border?.scratch.close();
    this.#border = undefined;
  }

  /** From now on, reading a position that is not there is an error; before, it is the end of the file. */
  seal(): void {
    this.#isSealed = true;
  }

  at(position: number): Spot | undefined {
    const parts = [
      this.#partOf(this.front, 0, 0, this.#frontEnd),
      ...(this.#border?.parts ?? []),
      ...(this.#volume === undefined ? [] : [this.#volume]),
    ];
    const part = parts.find(({ start, end }) => position >= start && position < end);
    if (part !== undefined) {
      const { descriptor, path, offset, start, end } = part;
      return { descriptor, path, offset: offset + position - start, rest: end - position };
    }
    const volume = this.volumes.find(({ start, size }) => position >= start && position < start + size);
    if (!this.#isSealed || volume === undefined) return undefined;
    throw new AirliftError('not-found', `read ${this.path}: ${volume.name} is not there any more`, {
      hint: 'run the same command again: it asks for the volumes that are needed',
    });
  }

  stat(): Promise<{ size: number; allocated: number }> {
    return Promise.resolve({
      size: this.volumes.reduce((sum, { size }) => sum + size, 0),
      allocated: 0,
    });
  }

  state(): ReturnType<BundleFiles['state']> {
    return Promise.resolve({ identity: this.path, changeTime: '', changed: 0 });
  }

  resize(): Promise<void> {
    return Promise.reject(new AirliftError('io', `resize ${this.path}: it is only read`));
  }

  sync(): Promise<void> {
    return Promise.resolve();
  }

  /** Does nothing: `release` closes the files after every reader. */
  close(): void {
    return;
  }

  /** Closes all files. */
  async release(): Promise<void> {
    this.eject();
    await this.dropBorder();
    await this.front.close();
  }

  #partOf(scratch: Scratch, offset: number, start: number, end: number): Part {
    return {
      descriptor: scratch.handle.fd,
      path: `the temporary copy of ${this.path}`,
      offset,
      start,
      end,
    };
  }

  async #append(scratch: Scratch, from: number, to: number, signal: AbortSignal | undefined): Promise<void> {
    const what = `a part of ${this.path}`;
    scratch.require(to - from, what);
    const file = await BundleFile.open({ path: this.path, files: this }, 'r');
    const { stream, range } = scratch.append(what);
    await pipeline(file.stream(from, to - from, { signal }), stream);
    if (range().size === to - from) return;
    throw new AirliftError('io', `read ${this.path}: ends early at byte ${from + range().size}`);
  }
}
