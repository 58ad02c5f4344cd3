/** A small tar writer for tests, so that archives for airlift's reader are not written by airlift's code. */

/** One member of a tar; the default `type` is `file`. Names have up to 100 bytes, or 255 with a slash in a suitable place. */
export interface TarMember {
  readonly name: string;
  readonly content?: string | Uint8Array;
  readonly type?: 'file' | 'directory' | 'symlink' | 'link';
  /** Target of a link. */
  readonly target?: string;
  readonly mode?: number;
}

const typeFlags = { file: '0', link: '1', symlink: '2', directory: '5' } as const;

/** Returns the header of a member of `size` bytes (POSIX ustar, 512 bytes). Owner root, time 0. */
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

/** Returns the number of zero bytes after `size` bytes of content. */
export function tarPadding(size: number): number {
  return (512 - (size % 512)) % 512;
}

/** Returns a complete tar with the members in the given order. */
export function tarOf(members: readonly TarMember[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const member of members) {
    const content = Buffer.from(member.content ?? '');
    parts.push(tarHeader(member, content.length), content, Buffer.alloc(tarPadding(content.length)));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}
