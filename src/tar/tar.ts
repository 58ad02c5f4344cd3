/** A tar block: headers are whole blocks, contents are padded to them (POSIX.1-2017 pax, "ustar Interchange Format"). */
export const blockSize = 512;

/** What ends an archive: two blocks of zeros. */
export const endLength = 2 * blockSize;

/** The greatest size that eleven octal digits hold; greater ones are written in base 256, as GNU tar does. */
const maxOctal = 8 ** 11 - 1;

const encoder = new TextEncoder();

/** Bytes that a content of `size` bytes takes in the archive. */
export function paddedLength(size: number): number {
  return Math.ceil(size / blockSize) * blockSize;
}

/** Splits a name at a slash so that it fits ustar's name (100 bytes) and prefix (155 bytes). */
function splitName(name: string): { name: string; prefix: string } | undefined {
  if (name.length <= 100) return { name, prefix: '' };
  for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
    const rest = name.length - slash - 1;
    if (slash > 0 && slash <= 155 && rest > 0 && rest <= 100)
      return { prefix: name.slice(0, slash), name: name.slice(slash + 1) };
  }
  return undefined;
}

/** Bytes of header blocks before the content of an entry of this name: one block, or three where the name needs a pax record. */
export function headerLength(name: string): number {
  return splitName(name) === undefined
    ? 2 * blockSize + paddedLength(paxRecord('path', name).length)
    : blockSize;
}

/** A pax record, `<length> <key>=<value>\n`, whose length counts its own digits. */
function paxRecord(key: string, value: string): Uint8Array {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return encoder.encode(`${length} ${key}=${value}\n`);
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

function checksumOf(block: Uint8Array): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < blockSize; at++) if (at < 148 || at >= 156) sum += block[at] ?? 0;
  return sum;
}

function writeBlock(
  block: Buffer,
  name: string,
  prefix: string,
  type: string,
  size: number,
  mtime: number,
): void {
  block.write(name, 0, 100, 'latin1');
  writeNumber(block, 100, 8, 0o644);
  writeNumber(block, 108, 8, 0);
  writeNumber(block, 116, 8, 0);
  writeNumber(block, 124, 12, size);
  writeNumber(block, 136, 12, mtime);
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  writeNumber(block, 329, 8, 0);
  writeNumber(block, 337, 8, 0);
  block.write(prefix, 345, 155, 'latin1');
  block.write(`${checksumOf(block).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/**
 * The header blocks of a regular file: mode 0644, owner and group 0. `headerLength(name)` bytes.
 * @param name ASCII path
 * @param size bytes of the content
 * @param mtime whole seconds since 1970
 */
export function encodeHeader(name: string, size: number, mtime: number): Buffer {
  const blocks = Buffer.alloc(headerLength(name));
  const split = splitName(name);
  if (split !== undefined) {
    writeBlock(blocks, split.name, split.prefix, '0', size, mtime);
    return blocks;
  }
  const record = paxRecord('path', name);
  const base = name.slice(name.lastIndexOf('/') + 1);
  writeBlock(blocks, `PaxHeaders/${base}`, '', 'x', record.length, mtime);
  blocks.set(record, blockSize);
  const last = blocks.subarray(blocks.length - blockSize);
  writeBlock(last, name, '', '0', size, mtime);
  return blocks;
}

/** Whether `mtime` (seconds) fits every reader's idea of a time: eleven octal digits. */
export function isTarTime(mtime: number): boolean {
  return Number.isSafeInteger(mtime) && mtime >= 0 && mtime <= maxOctal;
}

/** One header block, as read. */
export interface TarBlock {
  readonly name: string;
  /** Bytes of content that follow the block. */
  readonly size: number;
  /** `0` for a regular file, `x` and `g` for pax records, `L` for GNU's long name, `5` for a directory, … */
  readonly type: string;
}

function readText(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString('utf8', at, end < 0 || end > at + length ? at + length : end);
}

function readNumber(block: Buffer, at: number, length: number): number {
  if (((block[at] ?? 0) & 0x80) === 0) {
    const text = block
      .toString('latin1', at, at + length)
      .replace(/[\0 ]+$/, '')
      .trimStart();
    return /^[0-7]*$/.test(text) ? Number.parseInt(text === '' ? '0' : text, 8) : Number.NaN;
  }
  let value = (block[at] ?? 0) & 0x7f;
  for (let index = at + 1; index < at + length; index++) value = value * 256 + (block[index] ?? 0);
  return value;
}

/**
 * Reads one header block. Gives undefined where it is none: a wrong checksum, no ustar or GNU magic, a size that is no
 * number.
 */
export function decodeBlock(block: Buffer): TarBlock | undefined {
  if (block.length < blockSize || readNumber(block, 148, 8) !== checksumOf(block)) return undefined;
  if (block.toString('latin1', 257, 262) !== 'ustar') return undefined;
  const size = readNumber(block, 124, 12);
  if (!Number.isSafeInteger(size)) return undefined;
  const isPosix = block[262] === 0;
  const prefix = isPosix ? readText(block, 345, 155) : '';
  const name = readText(block, 0, 100);
  const type = String.fromCharCode(block[156] ?? 0);
  return { name: prefix === '' ? name : `${prefix}/${name}`, size, type: type === '\0' ? '0' : type };
}

/** Reads pax records into a map. Gives undefined where they are malformed. */
export function decodePax(content: Buffer): Map<string, string> | undefined {
  const records = new Map<string, string>();
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(content.toString('latin1', at, space));
    if (!Number.isSafeInteger(length) || length <= space - at || at + length > content.length)
      return undefined;
    const record = content.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    if (equals <= 0 || content[at + length - 1] !== 0x0a) return undefined;
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return records;
}
