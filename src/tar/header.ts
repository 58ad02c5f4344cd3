/** Bytes of a tar block: a header takes whole blocks, content is padded to them (POSIX.1-2017 pax, "ustar Interchange Format"). */
export const blockSize = 512;

/** Bytes of the mark that ends an archive: two blocks of zeros. */
export const endLength = 2 * blockSize;

/** The largest number that eleven octal digits hold; larger sizes are encoded in base 256, as GNU tar does. */
const maxOctal = 8 ** 11 - 1;

/** Returns the bytes that a content of `size` bytes takes in the archive. */
export function paddedLength(size: number): number {
  return Math.ceil(size / blockSize) * blockSize;
}

/** Reports whether a modification time (seconds since 1970) fits into eleven octal digits, which every tar reader understands. */
export function isTarTime(mtime: number): boolean {
  return Number.isSafeInteger(mtime) && mtime >= 0 && mtime <= maxOctal;
}

const notAscii = /[^ -~]/;

// Encoding. The bytes of a bundle must never change, so headers are encoded here and not by a library.

/** Splits an ASCII name at a slash so that it fits ustar's name (100 bytes) and prefix (155 bytes). */
function splitName(name: string): { name: string; prefix: string } | undefined {
  if (notAscii.test(name)) return undefined;
  if (name.length <= 100) return { name, prefix: '' };
  for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
    const rest = name.length - slash - 1;
    if (slash > 0 && slash <= 155 && rest > 0 && rest <= 100)
      return { prefix: name.slice(0, slash), name: name.slice(slash + 1) };
  }
  return undefined;
}

/** Returns the bytes of an entry's header: one block, or at least three where the name needs a pax record. */
export function headerLength(name: string): number {
  return splitName(name) === undefined
    ? 2 * blockSize + paddedLength(encodePaxRecord('path', name).length)
    : blockSize;
}

/** Encodes a pax record, `<length> <key>=<value>\n`, whose length counts its own digits. */
export function encodePaxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

function writeNumber(block: Buffer, at: number, length: number, value: number): void {
  if (value <= 8 ** (length - 1) - 1) {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
    return;
  }
  let rest = BigInt(value);
  for (let index = at + length - 1; index > at; index--) {
    block[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  block[at] = 0x80;
}

/** Sums the bytes of a header block, with spaces in place of the checksum itself. Some old writers summed signed bytes. */
function sumsOf(block: Uint8Array): { unsigned: number; signed: number } {
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < blockSize; at++) {
    const byte = at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return { unsigned, signed };
}

interface BlockFields {
  readonly name: string;
  readonly prefix?: string;
  readonly type: '0' | 'x';
  readonly size: number;
  readonly mtime: number;
  readonly mode: number;
}

function writeBlock(block: Buffer, { name, prefix = '', type, size, mtime, mode }: BlockFields): void {
  block.write(name, 0, 100, 'latin1');
  writeNumber(block, 100, 8, mode);
  writeNumber(block, 108, 8, 0);
  writeNumber(block, 116, 8, 0);
  writeNumber(block, 124, 12, size);
  writeNumber(block, 136, 12, mtime);
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  writeNumber(block, 329, 8, 0);
  writeNumber(block, 337, 8, 0);
  block.write(prefix, 345, 155, 'latin1');
  block.write(`${sumsOf(block).unsigned.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/**
 * Encodes the header of a regular file, owner and group 0: `headerLength(name)` bytes.
 * @param size bytes of the content
 * @param mtime whole seconds since 1970
 */
export function encodeHeader(name: string, size: number, mtime: number, mode = 0o644): Buffer {
  const blocks = Buffer.alloc(headerLength(name));
  const split = splitName(name);
  if (split !== undefined) {
    writeBlock(blocks, { ...split, type: '0', size, mtime, mode });
    return blocks;
  }
  const record = encodePaxRecord('path', name);
  const ascii = name.replaceAll(new RegExp(notAscii, 'gu'), '_');
  const base = ascii.slice(ascii.lastIndexOf('/') + 1);
  writeBlock(blocks, { name: `PaxHeaders/${base}`, type: 'x', size: record.length, mtime, mode: 0o644 });
  blocks.set(record, blockSize);
  writeBlock(blocks.subarray(blocks.length - blockSize), { name: ascii, type: '0', size, mtime, mode });
  return blocks;
}

// Decoding.

/** The kind of a header. A `pax`, `pax-global`, `gnu-name` or `gnu-link` header describes the entry that follows it. */
export type TarKind =
  | 'file'
  | 'hardlink'
  | 'symlink'
  | 'directory'
  | 'special'
  | 'pax'
  | 'pax-global'
  | 'gnu-name'
  | 'gnu-link'
  | 'sparse';

/**
 * The raw fields of one header block (POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"). A pax header or
 * a GNU long name before the block can override name, link name and size: `interpret` applies them.
 */
export interface TarHeader {
  readonly kind: TarKind;
  /** The type flag; `\0` for a file in the format before POSIX, which has no flag for directories. */
  readonly flag: string;
  /** Whether the block has the magic of ustar or GNU tar. */
  readonly hasMagic: boolean;
  readonly name: string;
  readonly linkName: string;
  /** The size field; undefined where it is not a number. */
  readonly size: number | undefined;
  readonly mode: number;
  /** Whether more blocks of a sparse file's map follow (GNU tar manual, "Storing Sparse Files"). */
  readonly isExtended: boolean;
}

/** Fields that headers before an entry override. */
export interface TarOverrides {
  readonly name?: string | undefined;
  readonly linkName?: string | undefined;
  readonly size?: number | undefined;
}

/** The fields of an entry, overrides applied. */
export interface TarFields {
  readonly kind: TarKind;
  readonly name: string;
  readonly linkName: string;
  /** Bytes of content that follow. */
  readonly size: number;
  readonly mode: number;
}

const kinds: Readonly<Record<string, TarKind>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'special',
  '4': 'special',
  '5': 'directory',
  '6': 'special',
  x: 'pax',
  g: 'pax-global',
  L: 'gnu-name',
  K: 'gnu-link',
  S: 'sparse',
};

/** Kinds whose headers may state a size although no content follows. */
const headerOnly: ReadonlySet<TarKind> = new Set(['hardlink', 'symlink', 'directory', 'special']);

/** Decodes text up to the first NUL byte. */
export function decodeText(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.byteLength : end);
}

/** Decodes octal digits, or base 256 where the first bit is set; undefined where it is neither or exceeds a safe integer. */
function decodeNumber(field: Buffer): number | undefined {
  const first = field[0] as number;
  if ((first & 0x80) !== 0) {
    if ((first & 0x40) !== 0) return undefined;
    let value = first & 0x3f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const digits = field.toString('latin1').replaceAll('\0', ' ').trim();
  if (digits === '') return 0;
  return /^[0-7]{1,17}$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

/** Reports whether a block is all zeros, as the end of an archive is. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/**
 * Decodes a header block, leniently: old formats without magic and signed checksums count.
 * @returns undefined where the block is too short or its checksum is wrong
 */
export function decodeHeader(block: Buffer): TarHeader | undefined {
  if (block.byteLength < blockSize) return undefined;
  const checksum = decodeNumber(block.subarray(148, 156));
  const sums = sumsOf(block);
  if (checksum !== sums.unsigned && checksum !== sums.signed) return undefined;
  const magic = block.toString('latin1', 257, 263);
  const name = decodeText(block.subarray(0, 100));
  // GNU's own format has other fields in place of the prefix.
  const prefix = magic === 'ustar\0' ? decodeText(block.subarray(345, 500)) : '';
  const flag = String.fromCharCode(block[156] as number);
  return {
    kind: kinds[flag] ?? 'file',
    flag,
    hasMagic: magic.startsWith('ustar'),
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: decodeText(block.subarray(157, 257)),
    size: decodeNumber(block.subarray(124, 136)),
    mode: decodeNumber(block.subarray(100, 108)) ?? 0,
    isExtended: flag === 'S' && block[482] !== 0,
  };
}

/**
 * Applies overrides to a header. The name field of an entry with a long name is cut off, perhaps after a `/`, so only the full
 * name tells whether the entry is a directory.
 * @returns undefined where the entry has no valid size
 */
export function interpret(header: TarHeader, overrides: TarOverrides): TarFields | undefined {
  const name = overrides.name ?? header.name;
  const linkName = overrides.linkName ?? header.linkName;
  const isDirectory = header.kind === 'file' && name.endsWith('/');
  const kind = isDirectory ? 'directory' : header.kind;
  // Go, GNU tar and bsdtar read content behind a file whose name ends in "/"; in the old format, Go and Python read none.
  const hasContent = isDirectory ? header.flag !== '\0' : !headerOnly.has(kind);
  const size = header.kind === 'file' ? (overrides.size ?? header.size) : header.size;
  if (size === undefined) return undefined;
  return { kind, name, linkName, size: hasContent ? size : 0, mode: header.mode };
}

/** Decodes the records of a pax header, `length key=value\n` each; undefined where they are malformed. */
export function decodePax(bytes: Buffer): Map<string, string> | undefined {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.byteLength;) {
    if (bytes[at] === 0) break;
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? '' : bytes.toString('latin1', at, space);
    if (!/^\d{1,8}$/.test(digits)) return undefined;
    const end = at + Number(digits);
    const equals = bytes.indexOf(0x3d, space);
    if (end > bytes.byteLength || equals < 0 || equals >= end || bytes[end - 1] !== 0x0a) return undefined;
    records.set(bytes.toString('utf8', space + 1, equals), bytes.toString('utf8', equals + 1, end - 1));
    at = end;
  }
  return records;
}
