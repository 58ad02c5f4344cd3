import type { BundleFile } from './file.js';
import {
  blockSize,
  decodeHeader,
  decodePax,
  decodeText,
  isZeroBlock,
  paddedLength,
} from '../../tar/header.js';

/** An entry of an archive as a plain tar reader sees it. */
export interface TarEntry {
  readonly name: string;
  /** Bytes of its content. */
  readonly size: number;
  /** Type flag of the tar header: `0` for a regular file. */
  readonly type: string;
  /** Position of its first header block. */
  readonly position: number;
  readonly contentPosition: number;
  /** Position behind its padding, where the next header is expected. */
  readonly end: number;
}

/** Bytes read ahead among small entries, so that one read covers many headers. */
const windowSize = 256 * 1024;

/** Bytes read after a jump over a large entry: its padding and the next header. */
const jumpSize = 4096;

/** The most bytes of pax records, or of a long name, before one entry. */
const maxExtension = 64 * 1024;

/** Reads the headers of an archive by position. */
export class EntryReader {
  #window: Buffer = Buffer.alloc(0);
  #begin = 0;

  constructor(readonly file: BundleFile) {}

  /** Reads bytes of the file; fewer if it ends before. They are valid until the next call. */
  async read(position: number, length: number): Promise<Buffer> {
    const at = position - this.#begin;
    if (at >= 0 && at + length <= this.#window.length) return this.#window.subarray(at, at + length);
    const ahead = at >= 0 && at < windowSize ? windowSize : jumpSize;
    this.#window = await this.file.readSmall(position, Math.max(length, ahead));
    this.#begin = position;
    return this.#window.subarray(0, length);
  }

  /**
   * Reads the entry whose first header block is at `position`, and applies its pax records and long name.
   * @returns `end` if a zero block ends the archive here, `cut` if the file ends, `damaged` if the block is no header
   */
  async readEntry(position: number): Promise<TarEntry | 'end' | 'cut' | 'damaged'> {
    let pax: ReadonlyMap<string, string> = new Map<string, string>();
    let longName: string | undefined;
    for (let next = position; ;) {
      const bytes = await this.read(next, blockSize);
      if (bytes.length < blockSize) return 'cut';
      if (isZeroBlock(bytes)) return next === position ? 'end' : 'damaged';
      const block = decodeHeader(bytes);
      // Every header of a bundle has the magic and its own size; without either, the block is content.
      if (block?.hasMagic !== true || block.size === undefined) return 'damaged';
      const { flag } = block;
      const contentPosition = next + blockSize;
      if (!'xgLK'.includes(flag)) {
        const size = pax.has('size') ? Number(pax.get('size')) : block.size;
        if (!Number.isSafeInteger(size) || size < 0) return 'damaged';
        const name = pax.get('path') ?? longName ?? block.name;
        return {
          name,
          size,
          type: flag === '\0' ? '0' : flag,
          position,
          contentPosition,
          end: contentPosition + paddedLength(size),
        };
      }
      if (block.size > maxExtension) return 'damaged';
      const content = await this.read(contentPosition, block.size);
      if (content.length < block.size) return 'cut';
      if (flag === 'L') longName = decodeText(content);
      if (flag === 'x') {
        const records = decodePax(content);
        if (records === undefined) return 'damaged';
        pax = records;
      }
      next = contentPosition + paddedLength(block.size);
    }
  }
}
