import { AirliftError } from '../errors.js';
import type { ByteCursor } from '../io/byte-cursor.js';
import {
  interpret,
  isZeroBlock,
  parsePax,
  parseTarHeader,
  tarBlock,
  type TarFields,
  type TarHeader,
} from './header.js';

/** One entry of a tar archive, before its content is passed over. */
export interface TarEntry {
  /** As the archive has it: not yet checked, not yet normalised. */
  readonly name: string;
  readonly kind: 'file' | 'hardlink' | 'symlink' | 'directory' | 'special';
  /** Where a link points, as the archive has it. */
  readonly linkName: string;
  readonly mode: number;
  /** Byte at which the content begins. */
  readonly offset: number;
  /** Bytes of content. */
  readonly size: number;
  /** The first bytes of the content, at most `length`. May be called once, before the next entry is asked for. */
  head(length: number): Promise<Buffer>;
}

/** The most bytes of a long name or of a pax header. */
const maxMeta = 1024 * 1024;

/** What headers said about the entry that follows them. */
interface Told {
  name?: string | undefined;
  linkName?: string | undefined;
  size?: number | undefined;
  /** Whether the file is stored without its holes. */
  sparse?: boolean;
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.byteLength : end);
}

function padding(size: number): number {
  return (tarBlock - (size % tarBlock)) % tarBlock;
}

/** Goes through one archive; what a header tells about the next entry is kept between two. */
class Scan {
  #told: Told = {};

  constructor(
    private readonly cursor: ByteCursor,
    private readonly what: string,
    private readonly passesSparse: boolean,
  ) {}

  /** The next header that is not about another one; undefined at the end, which `marked` tells from the end of the bytes. */
  async next(): Promise<{ header?: TarFields; marked: boolean }> {
    for (;;) {
      const at = this.cursor.position;
      const block = await this.cursor.read(tarBlock);
      if (block.byteLength === 0) return { marked: false };
      if (block.byteLength === tarBlock && isZeroBlock(block)) return { marked: true };
      const header = parseTarHeader(block);
      if (header === undefined) throw this.#badBlock(block, at);
      if (await this.#tell(header, at)) continue;
      const fields = this.#apply(header, at);
      for (let more = header.isExtended; more;) more = (await this.cursor.read(tarBlock))[504] === 1;
      return { header: fields, marked: false };
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
    await cursor.skip(padding(size));
  }

  #damaged(happened: string): AirliftError {
    return new AirliftError('damaged', `read ${this.what}: ${happened}`);
  }

  #badBlock(block: Buffer, at: number): AirliftError {
    if (at === 0) return new AirliftError('input', `read ${this.what}: not a tar archive`);
    if (block.byteLength < tarBlock) return this.#damaged(`truncated at byte ${this.cursor.position}`);
    return this.#damaged(`broken tar header at byte ${at}`);
  }

  /** Takes in a header that is about the next one; false where it is not one of these. */
  async #tell(header: TarHeader, at: number): Promise<boolean> {
    const { kind, size } = header;
    if (kind !== 'pax' && kind !== 'pax-global' && kind !== 'gnu-name' && kind !== 'gnu-link') return false;
    if (size === undefined) throw this.#damaged(`broken tar header at byte ${at}`);
    if (size > maxMeta) throw this.#damaged(`header of ${size} bytes at byte ${at}; want at most ${maxMeta}`);
    const bytes = await this.cursor.read(size);
    if (bytes.byteLength < size) throw this.#damaged(`truncated at byte ${this.cursor.position}`);
    await this.cursor.skip(padding(size));
    if (kind === 'gnu-name') this.#told.name = untilNul(bytes);
    else if (kind === 'gnu-link') this.#told.linkName = untilNul(bytes);
    else if (kind === 'pax') this.#tellPax(bytes, at);
    return true;
  }

  #tellPax(bytes: Buffer, at: number): void {
    const records = parsePax(bytes);
    // An empty value takes a record back (POSIX pax, "pax Extended Header"): the header's own field counts.
    const record = (key: string): string | undefined => {
      const value = records?.get(key);
      return value === '' ? undefined : value;
    };
    const size = record('size');
    const badSize = size !== undefined && !(/^\d{1,16}$/.test(size) && Number.isSafeInteger(Number(size)));
    if (records === undefined || badSize) throw this.#damaged(`broken pax header at byte ${at}`);
    this.#told.name = record('path') ?? this.#told.name;
    this.#told.linkName = record('linkpath') ?? this.#told.linkName;
    if (size !== undefined) this.#told.size = Number(size);
    this.#told.sparse = [...records.keys()].some((key) => key.startsWith('GNU.sparse.'));
  }

  #apply(header: TarHeader, at: number): TarFields {
    const told = this.#told;
    this.#told = {};
    const isSparse = header.kind === 'sparse' || told.sparse === true;
    if (isSparse && !this.passesSparse) {
      const name = JSON.stringify(told.name ?? header.name);
      throw new AirliftError('unsupported', `read ${this.what}: ${name} is a sparse file`, {
        hint: 'pack the archive again without tar --sparse',
      });
    }
    const fields = interpret(header, told);
    if (fields === undefined || !Number.isSafeInteger(this.cursor.position + fields.size))
      throw this.#damaged(`broken tar header at byte ${at}`);
    return isSparse ? { ...fields, kind: 'special' } : fields;
  }
}

/**
 * Goes through a tar archive: ustar, pax, GNU long names and large sizes. Returns whether the mark that ends an archive was
 * there; some writers leave it out, and so does a cut between two entries.
 * @param what names the archive, for messages
 * @param passesSparse passes over sparse files as over devices, whose content is not what is stored
 * @throws AirliftError `input` where it is not a tar archive, `damaged` where it is broken or truncated, `unsupported` where it
 *   holds sparse files (without `passesSparse`) or more than `maxEntries`
 */
export async function* scanTar(
  cursor: ByteCursor,
  what: string,
  maxEntries: number,
  passesSparse = false,
): AsyncGenerator<TarEntry, boolean> {
  const scan = new Scan(cursor, what, passesSparse);
  for (let entries = 0; ; entries++) {
    const { header, marked } = await scan.next();
    if (header === undefined) return marked;
    if (entries === maxEntries)
      throw new AirliftError('unsupported', `read ${what}: more than ${maxEntries} entries`);
    yield* scan.entry(header);
  }
}
