/** How content is compressed, as far as airlift reads it. */
export type Compression = 'gzip' | 'zstd' | 'none';

/** A format that is known by its first bytes but not read, and what turns it into one that is. */
export interface ForeignFormat {
  readonly name: string;
  /** The command that unpacks it to standard output, without the file's name; missing where there is no such command. */
  readonly command?: string;
}

/** As many first bytes as it takes to tell any format here. */
export const magicLength = 10;

const foreign: readonly (readonly [magic: string, format: ForeignFormat])[] = [
  ['425a68', { name: 'bzip2', command: 'bzip2 -dc' }],
  ['fd377a585a00', { name: 'xz', command: 'xz -dc' }],
  ['04224d18', { name: 'lz4', command: 'lz4 -dc' }],
  ['02214c18', { name: 'lz4 (legacy frames)', command: 'lz4 -dc' }],
  ['4c5a4950', { name: 'lzip', command: 'lzip -dc' }],
  ['894c5a4f000d0a1a0a', { name: 'lzop', command: 'lzop -dc' }],
  ['1f9d', { name: 'compress (.Z)', command: 'gzip -dc' }],
  ['1fa0', { name: 'compress (.Z)', command: 'gzip -dc' }],
  ['5d0000', { name: 'lzma', command: 'xz --format=lzma -dc' }],
  ['504b0304', { name: 'zip', command: 'unzip -p' }],
  ['377abcaf271c', { name: '7z', command: '7z x -so' }],
  ['526172211a07', { name: 'rar' }],
  ['68737173', { name: 'squashfs' }],
  ['514649fb', { name: 'qcow2' }],
  ['7f454c46', { name: 'ELF (a program)' }],
];

/** Tells the compression, or a format that is not read, by the first bytes (at least `magicLength` where there are as many). */
export function tellFormat(head: Uint8Array): Compression | ForeignFormat {
  const hex = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, magicLength)).toString(
    'hex',
  );
  if (hex.startsWith('1f8b')) return 'gzip';
  if (hex.startsWith('28b52ffd') || /^5.2a4d18/.test(hex)) return 'zstd';
  for (const [magic, format] of foreign) if (hex.startsWith(magic)) return format;
  return 'none';
}
