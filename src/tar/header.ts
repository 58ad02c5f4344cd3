/** What a tar header is for. `meta` headers tell something about the entry that follows. */
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
 * The fields of one header block as they stand there (POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
 * A pax header or a GNU long name before the block can replace name, link name and size, so `interpret` decides what they mean.
 */
export interface TarHeader {
  readonly kind: TarKind;
  /** Whether the type flag is that of tar before POSIX, which has no flag of its own for directories. */
  readonly isOldFormat: boolean;
  readonly name: string;
  readonly linkName: string;
  /** The size field; undefined where it holds no number. */
  readonly size: number | undefined;
  readonly mode: number;
  /** Whether blocks with more of a sparse file's map follow (GNU tar manual, "Storing Sparse Files"). */
  readonly isExtended: boolean;
}

/** What headers say about the entry that follows them. */
export interface TarOverrides {
  readonly name?: string | undefined;
  readonly linkName?: string | undefined;
  readonly size?: number | undefined;
}

/** An entry, its fields interpreted. */
export interface TarFields {
  readonly kind: TarKind;
  readonly name: string;
  readonly linkName: string;
  /** Bytes of content that follow. */
  readonly size: number;
  readonly mode: number;
}

/** The size of a block: headers take one, content is padded to it. */
export const tarBlock = 512;

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

/** Kinds whose headers may state a size that is not followed by content. */
const headerOnly: ReadonlySet<TarKind> = new Set(['hardlink', 'symlink', 'directory', 'special']);

function text(block: Buffer, start: number, length: number): string {
  const field = block.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end);
}

/** A number in octal, or in base 256 where its first bit is set; undefined where it is neither or too large. */
function number(block: Buffer, start: number, length: number): number | undefined {
  const field = block.subarray(start, start + length);
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

/** Whether the block's checksum is right: the sum of its bytes, its own field taken as spaces. Some old writers took bytes as signed. */
function sumsUp(block: Buffer): boolean {
  const want = number(block, 148, 8);
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < tarBlock; at++) {
    const byte = at >= 148 && at < 156 ? 32 : (block[at] as number);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return want === unsigned || want === signed;
}

/** Whether a block is all zeros, as the end of an archive is. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/** Reads a header block; undefined where it is none. */
export function parseTarHeader(block: Buffer): TarHeader | undefined {
  if (block.byteLength < tarBlock || !sumsUp(block)) return undefined;
  const name = text(block, 0, 100);
  // GNU's own format has other fields in the place of the prefix.
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? text(block, 345, 155) : '';
  const flag = String.fromCharCode(block[156] as number);
  return {
    kind: kinds[flag] ?? 'file',
    isOldFormat: flag === '\0',
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: text(block, 157, 100),
    size: number(block, 124, 12),
    mode: number(block, 100, 8) ?? 0,
    isExtended: flag === 'S' && block[482] !== 0,
  };
}

/**
 * Interprets the fields of a header after their overrides: a long name is cut off in the name field, perhaps behind a `/`, and
 * says nothing of the entry's kind.
 * @returns undefined where the entry has no valid size
 */
export function interpret(header: TarHeader, overrides: TarOverrides): TarFields | undefined {
  const name = overrides.name ?? header.name;
  const linkName = overrides.linkName ?? header.linkName;
  const isDirectory = header.kind === 'file' && name.endsWith('/');
  const kind = isDirectory ? 'directory' : header.kind;
  // Go, GNU tar and bsdtar read content behind a file whose name ends in "/"; of the old format Go and Python read none.
  const hasContent = isDirectory ? !header.isOldFormat : !headerOnly.has(kind);
  const stated = header.kind === 'file' ? (overrides.size ?? header.size) : header.size;
  if (stated === undefined) return undefined;
  return { kind, name, linkName, size: hasContent ? stated : 0, mode: header.mode };
}

/** The records of a pax header, `length key=value\n` each; undefined where it is malformed. */
export function parsePax(bytes: Buffer): Map<string, string> | undefined {
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
