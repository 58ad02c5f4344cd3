/** A small tar writer of the tests' own, so that what airlift reads was not written by code of airlift. */

/** One member of a tar: a file unless `type` says otherwise. Names up to 100 bytes, or 255 with a slash in the right place. */
export interface TarMember {
  readonly name: string;
  readonly content?: string | Uint8Array;
  readonly type?: 'file' | 'directory' | 'symlink' | 'link';
  /** Where a link points. */
  readonly target?: string;
  readonly mode?: number;
}

const typeFlags = { file: '0', link: '1', symlink: '2', directory: '5' } as const;

/** The 512 bytes before a member of `size` bytes (POSIX ustar). Owner root, time 0. */
export function tarHeader(member: TarMember, size: number): Buffer {
  const header = Buffer.alloc(512);
  let name = member.name;
  if (Buffer.byteLength(name) > 100) {
    const slash = name.indexOf('/', name.length - 101);
    header.write(name.slice(0, slash), 345, 155);
    name = name.slice(slash + 1);
  }
  if (Buffer.byteLength(name) > 100 || member.name.length > 255)
    throw new Error(`name too long for ustar: ${member.name}`);
  const type = member.type ?? 'file';
  const octal = (value: number, at: number, length: number): void => {
    header.write(value.toString(8).padStart(length - 1, '0') + '\0', at, 'latin1');
  };
  header.write(name, 0);
  octal(member.mode ?? (type === 'directory' ? 0o755 : 0o644), 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  header.write('        ', 148, 'latin1');
  header.write(typeFlags[type], 156, 'latin1');
  header.write(member.target ?? '', 157, 100);
  header.write('ustar\x0000', 257, 'latin1');
  header.write('root', 265, 'latin1');
  header.write('root', 297, 'latin1');
  octal(0, 329, 8);
  octal(0, 337, 8);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** How many zero bytes follow `size` bytes of content. */
export function tarPadding(size: number): number {
  return (512 - (size % 512)) % 512;
}

/** A whole tar in memory, its members in the order given. */
export function tarOf(members: readonly TarMember[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const member of members) {
    const content = Buffer.from(member.content ?? '');
    parts.push(tarHeader(member, content.length), content, Buffer.alloc(tarPadding(content.length)));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}
