/** The files that hold a bundle's bytes: one file, the volumes of a complete bundle, or volumes that are being written. */
import { closeSync, constants, fstat, fsync, ftruncate, openSync, type BigIntStats } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { AirliftError, isMissingPath } from '../../../errors.js';
import type { Digest } from '../../../oci/digest.js';
import { ioError } from '../io-error.js';
import { findVolumes, requireAll } from './find.js';
import { maxVolumes, volumeName, volumeSizes } from './list.js';

const calls = {
  fstatExact: promisify((descriptor: number, done: (error: Error | null, stats: BigIntStats) => void) =>
    fstat(descriptor, { bigint: true }, done),
  ),
  fsync: promisify(fsync),
  ftruncate: promisify(ftruncate),
} as const;

/** Prevents a symbolic link in the file's place from redirecting a write; does not exist on Windows. */
export const noFollow = (constants.O_NOFOLLOW as number | undefined) ?? 0;

const flags = {
  r: constants.O_RDONLY,
  'r+': constants.O_RDWR | noFollow,
  create: constants.O_RDWR | constants.O_CREAT | noFollow,
} as const;

/** `r` reads, `r+` reads and writes, `create` is like `r+` and creates a missing file. */
export type OpenMode = keyof typeof flags;

/** Volumes of a bundle that is being written: `PATH.001`, `PATH.002`, … Plain data, for worker threads. */
export interface WrittenVolumes {
  readonly path: string;
  readonly volumeSize: number;
}

/** A bundle whose volumes may lie in further directories. Plain data, for worker threads. */
export interface VolumesIn {
  readonly path: string;
  readonly volumeDirs: readonly string[];
  /** Read volumes that are missing as if the file ended there, and take volumes of any size. Default: refuse both. */
  readonly isPartial?: boolean | undefined;
}

/** One file, even if it is a volume. */
export interface SingleFile {
  readonly path: string;
  readonly isSingle: true;
}

/** Where a bundle is. A path stands for a file, or for volumes beside it. */
export type BundlePlace = string | VolumesIn | SingleFile | WrittenVolumes;

/** Files that the caller has opened, and closes itself. */
export interface HeldFiles {
  readonly path: string;
  readonly files: BundleFiles;
}

/** Returns the path of a place, for messages. */
export function pathOf(place: BundlePlace | HeldFiles): string {
  return typeof place === 'string' ? place : place.path;
}

/** Where bytes of a bundle are in an open file. */
export interface Spot {
  readonly descriptor: number;
  /** Path of the file, for messages. */
  readonly path: string;
  /** Position in the file. */
  readonly offset: number;
  /** Bytes from there to the end of the volume; Infinity in the last one. */
  readonly rest: number;
  /** Digest of the volume in its list. */
  readonly digest?: Digest | undefined;
}

/** The open files of a bundle. */
export interface BundleFiles {
  /** Whether these are volumes of a complete bundle. */
  readonly isSplit: boolean;
  /**
   * Finds the file for a position. Without `isWrite`, undefined if the volume does not exist.
   * @throws AirliftError `io`
   */
  at(position: number, isWrite?: boolean): Spot | undefined;
  /** Returns bytes, and bytes that the files occupy on the disk. */
  stat(): Promise<{ size: number; allocated: number }>;
  /** Identifies the files and the state of their content, with `changed` in milliseconds; see {@link fileIdentity}. */
  state(): Promise<{ readonly identity: string; readonly changeTime: string; readonly changed: number }>;
  /** Sets the size of the bundle; an extension is a hole. */
  resize(size: number): Promise<void>;
  sync(): Promise<void>;
  close(): void;
}

/** Identifies a file and the state of its content: another file has another identity, and so has this one after a write. */
export function fileIdentity({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs].join(' ');
}

/**
 * Opens the files of a bundle.
 * @param name the bundle's name in messages
 * @throws AirliftError `io`, `damaged` if a volume is missing or of a wrong size
 */
export async function openFiles(
  place: BundlePlace | HeldFiles,
  mode: OpenMode,
  name: string,
): Promise<BundleFiles> {
  if (typeof place === 'object' && 'files' in place) return place.files;
  if (typeof place === 'object' && 'volumeSize' in place) return new WrittenFiles(place, mode);
  const path = pathOf(place);
  const isIn = typeof place === 'object' && 'volumeDirs' in place;
  if (isIn || (mode === 'r' && typeof place === 'string')) {
    const volumes = await findVolumes(path, isIn ? place.volumeDirs : []);
    if (volumes !== undefined) {
      if (!isIn || place.isPartial !== true) requireAll(name, volumes);
      return OpenFiles.open(volumes.volumes, mode);
    }
  }
  return OpenFiles.open([{ path, name, size: Infinity }], mode);
}

interface OpenFile {
  /** Undefined if the file is missing. */
  readonly descriptor: number | undefined;
  readonly path: string;
  readonly start: number;
  readonly end: number;
  readonly digest: Digest | undefined;
}

/** Files that exist. */
class OpenFiles implements BundleFiles {
  readonly isSplit: boolean;

  private constructor(private readonly files: readonly OpenFile[]) {
    this.isSplit = files.length > 1;
  }

  static async open(
    parts: readonly {
      readonly path: string | undefined;
      readonly name: string;
      readonly size: number;
      readonly digest?: Digest | undefined;
    }[],
    mode: OpenMode,
  ): Promise<OpenFiles> {
    const files: OpenFile[] = [];
    let start = 0;
    try {
      for (const [at, { path, name, size, digest }] of parts.entries()) {
        const end = at === parts.length - 1 ? Infinity : start + size;
        const descriptor = path === undefined ? undefined : await openFile(path, mode, name);
        files.push({ descriptor, path: path ?? name, start, end, digest });
        start += size;
      }
      return new OpenFiles(files);
    } catch (error) {
      new OpenFiles(files).close();
      throw error;
    }
  }

  at(position: number): Spot | undefined {
    let [low, high] = [0, this.files.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (position < (this.files[middle]?.end ?? Infinity)) high = middle;
      else low = middle + 1;
    }
    const file = this.files[low];
    if (file === undefined) return undefined;
    const { descriptor, path, start, end, digest } = file;
    if (descriptor === undefined) return undefined;
    return { descriptor, path, offset: position - start, rest: end - position, digest };
  }

  async stat(): Promise<{ size: number; allocated: number }> {
    return sizesOf(this.#present);
  }

  state(): ReturnType<BundleFiles['state']> {
    return stateOf(this.#present);
  }

  async resize(size: number): Promise<void> {
    for (const { descriptor, path, start, end } of this.files)
      if (descriptor !== undefined)
        await resizeFile({ descriptor, path }, Math.max(0, Math.min(size, end) - start));
  }

  async sync(): Promise<void> {
    for (const file of this.#present) await syncFile(file);
  }

  close(): void {
    for (const { descriptor } of this.#present) closeSync(descriptor);
  }

  get #present(): NamedDescriptor[] {
    return this.files.flatMap(({ descriptor, path }) =>
      descriptor === undefined ? [] : [{ descriptor, path }],
    );
  }
}

/** @throws AirliftError `io` if it cannot be opened or, unless it is to be created, is no regular file */
async function openFile(path: string, mode: OpenMode, name: string): Promise<number> {
  try {
    // Opening a pipe would block until another process opens it for writing.
    if (mode === 'create' || (await stat(path)).isFile()) return openSync(path, flags[mode]);
  } catch (error) {
    throw ioError(`open ${name}`, error, { isInput: mode !== 'create' });
  }
  throw new AirliftError('io', `open ${name}: not a regular file`);
}

/** Volumes that are being written. Each is created when the first byte is written to it. */
class WrittenFiles implements BundleFiles {
  readonly isSplit = false;
  readonly #open = new Map<number, { readonly descriptor: number; readonly path: string }>();

  constructor(
    private readonly volumes: WrittenVolumes,
    private readonly mode: OpenMode,
  ) {}

  at(position: number, isWrite = false): Spot | undefined {
    const { volumeSize } = this.volumes;
    const number = Math.floor(position / volumeSize) + 1;
    const file = this.#file(number, isWrite);
    if (file === undefined) return undefined;
    const offset = position - (number - 1) * volumeSize;
    return { ...file, offset, rest: volumeSize - offset };
  }

  #file(number: number, isWrite: boolean): { descriptor: number; path: string } | undefined {
    const known = this.#open.get(number);
    if (known !== undefined) return known;
    const path = volumeName(this.volumes.path, number);
    try {
      const mode = isWrite ? 'create' : this.mode === 'r' ? 'r' : 'r+';
      const file = { descriptor: openSync(path, flags[mode]), path };
      this.#open.set(number, file);
      return file;
    } catch (error) {
      if (!isWrite && isMissingPath(error)) return undefined;
      throw ioError(`open ${path}`, error);
    }
  }

  /** Returns the files up to the first one that is missing. */
  #files(): { descriptor: number; path: string }[] {
    const files = [];
    for (let number = 1; number <= maxVolumes; number++) {
      const file = this.#file(number, false);
      if (file === undefined) break;
      files.push(file);
    }
    return files;
  }

  async stat(): Promise<{ size: number; allocated: number }> {
    const { volumeSize } = this.volumes;
    let [size, allocated] = [0, 0];
    let isContiguous = true;
    for (const file of this.#files()) {
      const found = await sizesOf([file]);
      allocated += found.allocated;
      // Bytes behind a gap do not count: they would be taken for bytes of another place.
      if (isContiguous) size += Math.min(found.size, volumeSize);
      isContiguous &&= found.size >= volumeSize;
    }
    return { size, allocated };
  }

  state(): ReturnType<BundleFiles['state']> {
    return stateOf(this.#files());
  }

  async resize(size: number): Promise<void> {
    const { path, volumeSize } = this.volumes;
    const sizes = volumeSizes(size, volumeSize);
    for (const [at, want] of sizes.entries()) {
      const file = this.#file(at + 1, true);
      if (file !== undefined) await resizeFile(file, want);
    }
    for (let number = sizes.length + 1; number <= maxVolumes; number++) {
      const open = this.#open.get(number);
      if (open !== undefined) closeSync(open.descriptor);
      this.#open.delete(number);
      await rm(volumeName(path, number), { force: true });
    }
  }

  async sync(): Promise<void> {
    for (const file of this.#files()) await syncFile(file);
  }

  close(): void {
    for (const { descriptor } of this.#open.values()) closeSync(descriptor);
    this.#open.clear();
  }
}

interface NamedDescriptor {
  readonly descriptor: number;
  readonly path: string;
}

async function sizesOf(files: readonly NamedDescriptor[]): Promise<{ size: number; allocated: number }> {
  let [size, allocated] = [0, 0];
  for (const { descriptor } of files) {
    const stats = await calls.fstatExact(descriptor);
    size += Number(stats.size);
    allocated += Number(stats.blocks) * 512;
  }
  return { size, allocated };
}

async function stateOf(files: readonly NamedDescriptor[]): ReturnType<BundleFiles['state']> {
  const stats = await Promise.all(files.map(({ descriptor }) => calls.fstatExact(descriptor)));
  return {
    identity: stats.map(fileIdentity).join(),
    changeTime: stats.map(({ ctimeNs }) => ctimeNs).join(),
    changed: Math.max(...stats.map(({ ctimeMs }) => Number(ctimeMs))),
  };
}

async function resizeFile({ descriptor, path }: NamedDescriptor, size: number): Promise<void> {
  try {
    await calls.ftruncate(descriptor, size);
  } catch (error) {
    throw ioError(`resize ${path} to ${size} bytes`, error);
  }
}

async function syncFile({ descriptor, path }: NamedDescriptor): Promise<void> {
  try {
    await calls.fsync(descriptor);
  } catch (error) {
    throw ioError(`sync ${path}`, error);
  }
}
