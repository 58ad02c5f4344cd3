import { Catalog } from '../bundle/format/catalog.js';
import { BundleFile } from '../bundle/format/file.js';
import { readHead, type Head } from '../bundle/format/head.js';
import { AirliftError, checkInterrupted, isAirliftError } from '../errors.js';
import { algorithmOf, hexOf, type Digest } from '../oci/digest.js';
import { createHash } from 'node:crypto';
import { readRepairFile, type RepairFileContent } from './repair-file.js';

/** A blob to look for. */
export interface WantedBlob {
  readonly digest: Digest;
  readonly size: number;
  /** Position of its content in the damaged bundle: a copy of that bundle has it there, even if its own catalog is damaged. */
  readonly position?: number | undefined;
}

/** The whole content of a blob in a file. */
export interface FoundBlob {
  readonly file: BundleFile;
  readonly position: number;
}

/** A file to take whole blobs from: a repair file, or a bundle, which may be damaged elsewhere. */
export class FileSource {
  private constructor(
    readonly path: string,
    readonly file: BundleFile,
    private readonly repair: RepairFileContent | undefined,
    private readonly head: Head | undefined,
    private readonly catalog: Catalog | undefined,
  ) {}

  /**
   * Opens a repair file or a bundle.
   * @throws AirliftError `input` if it is neither, `unsupported` if a newer airlift wrote it, `io`
   */
  static async open(path: string): Promise<FileSource> {
    const file = await BundleFile.open(path, 'r');
    try {
      const repair = await readRepairFile(file);
      if (repair !== undefined) return new FileSource(path, file, repair, undefined, undefined);
      try {
        const head = await readHead(file);
        return new FileSource(path, file, undefined, head, await Catalog.open(file, head));
      } catch (error) {
        if (!isAirliftError(error, 'damaged')) throw error;
        return new FileSource(path, file, undefined, undefined, undefined);
      }
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Where the head of a bundle lies in this file; undefined if it has none, or a damaged one. */
  get headPlace(): { readonly position: number; readonly size: number } | undefined {
    if (this.head !== undefined) return { position: 0, size: this.head.start };
    const place = this.repair?.head;
    return place === undefined ? undefined : { position: place.contentPosition, size: place.size };
  }

  /** Finds the content of a blob and hashes it; undefined if the file does not have it, or a damaged one. */
  async find(blob: WantedBlob, signal?: AbortSignal): Promise<FoundBlob | undefined> {
    for (const position of this.#positions(blob)) {
      if (await isWhole(this.file, position, blob, signal)) return { file: this.file, position };
    }
    return undefined;
  }

  /** Returns the size of a blob that the file names. */
  sizeOf(digest: Digest): number | undefined {
    return this.catalog?.blob(digest)?.size ?? this.repair?.blobs.get(digest)?.size;
  }

  #positions({ digest, size, position }: WantedBlob): number[] {
    const place = this.repair?.blobs.get(digest);
    if (place !== undefined) return place.size === size ? [place.contentPosition] : [];
    const blob = this.catalog?.blob(digest);
    const positions: number[] = [];
    if (blob?.offset !== undefined && this.head !== undefined) positions.push(this.head.start + blob.offset);
    if (this.repair === undefined && position !== undefined && !positions.includes(position))
      positions.push(position);
    return positions;
  }

  async close(): Promise<void> {
    this.catalog?.close();
    await this.file.close();
  }
}

/** Opens all sources, or none. */
export async function openSources(paths: readonly string[]): Promise<FileSource[]> {
  const sources: FileSource[] = [];
  try {
    for (const path of paths) sources.push(await FileSource.open(path));
    return sources;
  } catch (error) {
    for (const source of sources) await source.close();
    throw error;
  }
}

/** Reports whether a file has the content of a blob at a position. */
export async function isWhole(
  file: BundleFile,
  position: number,
  { digest, size }: WantedBlob,
  signal?: AbortSignal,
): Promise<boolean> {
  const hash = createHash(algorithmOf(digest));
  let bytes = 0;
  for await (const chunk of file.stream(position, size, { reusesMemory: true })) {
    checkInterrupted(signal, `read ${file.path}`);
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return bytes === size && hash.digest('hex') === hexOf(digest);
}

/** Refuses a source that is the damaged bundle itself. */
export function refuseItself(bundle: BundleFile, sources: readonly FileSource[]): void {
  for (const { path, file } of sources) {
    if (file.identity === bundle.identity)
      throw new AirliftError('usage', `repair ${bundle.path}: ${path} is the same file`, {
        hint: 'name another copy of the bundle, or a repair file',
      });
  }
}
