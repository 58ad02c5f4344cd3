import { AirliftError } from '../errors.js';
import type { ByteCursor } from '../io/byte-range.js';
import {
  blockSize,
  decodeHeader,
  decodePax,
  decodeText,
  interpret,
  isZeroBlock,
  paddedLength,
  type TarFields,
  type TarHeader,
} from './header.js';

/** An entry of a tar archive, before its content is skipped. */
export interface TarEntry {
  /** The name as in the archive: neither checked nor normalised. */
  readonly name: string;
  readonly kind: 'file' | 'hardlink' | 'symlink' | 'directory' | 'special';
  /** The target of a link, as in the archive. */
  readonly linkName: string;
  readonly mode: number;
  /** Position of the content's first byte. */
  readonly offset: number;
  /** Bytes of content. */
  readonly size: number;
  /** Reads the first bytes of the content, at most `length`. May be called once, before the scan advances. */
  head(length: number): Promise<Buffer>;
}

/**
 * Normalises a path: no empty parts, no `.`, no leading `/`.
 * @param from the folder that a relative path starts in
 * @returns undefined where `..` leads outside
 */
export function plainPath(path: string, from: readonly string[] = []): string | undefined {
  const parts = [...from];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join('/');
}

/** The most bytes of a long name or of a pax header. */
const maxMeta = 1024 * 1024;

/** Overrides for the next entry. */
interface Overrides {
  name?: string | undefined;
  linkName?: string | undefined;
  size?: number | undefined;
  /** Whether the file is stored without its holes. */
  isSparse?: boolean;
}

/** Scans one archive; keeps the overrides for the next entry between two headers. */
class Scan {
  #overrides: Overrides = {};

  constructor(
    private readonly cursor: ByteCursor,
    private readonly what: string,
    private readonly skipsSparse: boolean,
  ) {}

  /** Reads the header of the next entry. At the end there is no header, and `isMarked` says whether the archive has its end mark. */
  async next(): Promise<{ header?: TarFields; isMarked: boolean }> {
    for (;;) {
      const at = this.cursor.position;
      const block = await this.cursor.read(blockSize);
      if (block.byteLength === 0) return { isMarked: false };
      if (block.byteLength === blockSize && isZeroBlock(block)) return { isMarked: true };
      const header = decodeHeader(block);
      if (header === undefined) throw this.#badBlock(block, at);
      if (await this.#readOverride(header, at)) continue;
      const fields = this.#apply(header, at);
      for (let more = header.isExtended; more;) more = (await this.cursor.read(blockSize))[504] === 1;
      return { header: fields, isMarked: false };
    }
  }

  async *entry(header: TarFields): AsyncGenerator<TarEntry> {
    const { cursor } = this;
    const offset = cursor.position;
    const { name, linkName, mode, size } = header;
    const kind = header.kind as TarEntry['kind'];
    const head = (length: number): Promise<Buffer> => cursor.read(Math.min(length, size));
    yield { name, linkName, mode, kind, offset, size, head };
    await cursor.skip(size - (cursor.position - offset));
    if (cursor.position < offset + size)
      throw this.#damaged(`truncated at byte ${cursor.position} inside ${JSON.stringify(name)}`);
    await cursor.skip(paddedLength(size) - size);
  }

  #damaged(happened: string): AirliftError {
    return new AirliftError('damaged', `read ${this.what}: ${happened}`);
  }

  #badBlock(block: Buffer, at: number): AirliftError {
    if (at === 0) return new AirliftError('input', `read ${this.what}: not a tar archive`);
    if (block.byteLength < blockSize) return this.#damaged(`truncated at byte ${this.cursor.position}`);
    return this.#damaged(`broken tar header at byte ${at}`);
  }

  /** Reads what a header overrides in the next entry; returns false where the header is an entry's own. */
  async #readOverride(header: TarHeader, at: number): Promise<boolean> {
    const { kind, size } = header;
    if (kind !== 'pax' && kind !== 'pax-global' && kind !== 'gnu-name' && kind !== 'gnu-link') return false;
    if (size === undefined) throw this.#damaged(`broken tar header at byte ${at}`);
    if (size > maxMeta) throw this.#damaged(`header of ${size} bytes at byte ${at}; want at most ${maxMeta}`);
    const bytes = await this.cursor.read(size);
    if (bytes.byteLength < size) throw this.#damaged(`truncated at byte ${this.cursor.position}`);
    await this.cursor.skip(paddedLength(size) - size);
    if (kind === 'gnu-name') this.#overrides.name = decodeText(bytes);
    else if (kind === 'gnu-link') this.#overrides.linkName = decodeText(bytes);
    else if (kind === 'pax') this.#overridePax(bytes, at);
    return true;
  }

  #overridePax(bytes: Buffer, at: number): void {
    const records = decodePax(bytes);
    // An empty value revokes a record (POSIX pax, "pax Extended Header"): the header's own field counts.
    const record = (key: string): string | undefined => {
      const value = records?.get(key);
      return value === '' ? undefined : value;
    };
    const size = record('size');
    const isBadSize = size !== undefined && !(/^\d{1,16}$/.test(size) && Number.isSafeInteger(Number(size)));
    if (records === undefined || isBadSize) throw this.#damaged(`broken pax header at byte ${at}`);
    this.#overrides.name = record('path') ?? this.#overrides.name;
    this.#overrides.linkName = record('linkpath') ?? this.#overrides.linkName;
    if (size !== undefined) this.#overrides.size = Number(size);
    this.#overrides.isSparse = [...records.keys()].some((key) => key.startsWith('GNU.sparse.'));
  }

  #apply(header: TarHeader, at: number): TarFields {
    const overrides = this.#overrides;
    this.#overrides = {};
    const isSparse = header.kind === 'sparse' || overrides.isSparse === true;
    if (isSparse && !this.skipsSparse) {
      const name = JSON.stringify(overrides.name ?? header.name);
      throw new AirliftError('unsupported', `read ${this.what}: ${name} is a sparse file`, {
        hint: 'create the archive again without tar --sparse',
      });
    }
    const fields = interpret(header, overrides);
    if (fields === undefined || !Number.isSafeInteger(this.cursor.position + fields.size))
      throw this.#damaged(`broken tar header at byte ${at}`);
    return isSparse ? { ...fields, kind: 'special' } : fields;
  }
}

/**
 * Scans a tar archive: ustar, pax, GNU long names and large sizes. Returns whether the archive has its end mark; some writers omit
 * it, and an archive that was cut between two entries lacks it too.
 *
 * This is not tar-stream, because that library reads content in order, while an archive in a file must be indexed by seeking past
 * its contents, and content has a position that is read again later.
 * @param what names the archive in messages
 * @param skipsSparse whether to skip sparse files like devices, because their stored content is not their content
 * @throws AirliftError `input` where it is not a tar archive, `damaged` where it is broken or truncated, `unsupported` where it
 *   holds sparse files (without `skipsSparse`) or more than `maxEntries`
 */
export async function* scanTar(
  cursor: ByteCursor,
  what: string,
  maxEntries: number,
  skipsSparse = false,
): AsyncGenerator<TarEntry, boolean> {
  const scan = new Scan(cursor, what, skipsSparse);
  for (let entries = 0; ; entries++) {
    const { header, isMarked } = await scan.next();
    if (header === undefined) return isMarked;
    if (entries === maxEntries)
      throw new AirliftError('unsupported', `read ${what}: more than ${maxEntries} entries`);
    yield* scan.entry(header);
  }
}
