import type { FileHandle } from 'node:fs/promises';
import { AirliftError } from '../errors.js';
import { RangeCursor } from './byte-cursor.js';
import { FileRange, type ByteRange } from './byte-range.js';
import { maxMembers, type Members } from './members.js';
import { scanTar, type TarEntry } from './tar-scan.js';

/** A file or link of the archive, by its place or by the path it points at. */
type Node = { offset: number; size: number; copies: number } | { target: string | undefined };

const maxLinks = 40;
/** The most characters that all paths of an archive may have together: they are held in memory. */
const maxPathCharacters = 256 * 1024 * 1024;

/**
 * A path in its plain form: no empty parts, no `.`, no `/` in front.
 * @returns undefined where `..` leads out
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

/** The members of an uncompressed tar file, by one pass over its headers; content is read in its place. */
export class TarMembers implements Members {
  readonly #nodes = new Map<string, Node>();
  readonly #range: FileRange;
  #characters = 0;
  #marked = true;

  private constructor(
    private readonly handle: FileHandle,
    size: number,
    readonly file: string,
  ) {
    this.#range = new FileRange(handle, 0, size, file);
  }

  /**
   * Goes through the headers of the `size` bytes in `handle`, which is closed with the members.
   * @throws AirliftError `input`, `damaged` or `unsupported`, as `scanTar`, and `damaged` where a name leads out of the archive
   */
  static async open(handle: FileHandle, size: number, file: string): Promise<TarMembers> {
    const members = new TarMembers(handle, size, file);
    const scan = scanTar(new RangeCursor(members.#range), file, maxMembers);
    for (;;) {
      const { value, done } = await scan.next();
      if (done === true) {
        members.#marked = value;
        return members;
      }
      members.#add(value);
    }
  }

  get missingHint(): string | undefined {
    return this.#marked ? undefined : 'the archive lacks the mark that ends it: it may have been cut off';
  }

  find(path: string): Promise<ByteRange | undefined> {
    return Promise.resolve().then(() => this.#find(path));
  }

  #find(path: string): ByteRange | undefined {
    let at = plainPath(path);
    if (at === undefined) throw this.#damaged(path, 'is a name that leads out of the archive');
    for (let links = 0; links <= maxLinks; links++) {
      const node = this.#nodes.get(at);
      if (node === undefined) return undefined;
      if ('offset' in node) {
        // Content by its digest may be there twice; of anything else nobody knows which one is meant.
        if (node.copies > 1 && !at.startsWith('blobs/')) throw this.#damaged(at, 'is there more than once');
        return this.#range.part(node.offset, node.size);
      }
      if (node.target === undefined) throw this.#damaged(at, 'is a link that leads out of the archive');
      at = node.target;
    }
    throw this.#damaged(path, 'is a link that leads in a circle');
  }

  async *below(folder: string): AsyncGenerator<string> {
    for (const path of this.#nodes.keys()) if (path.startsWith(folder)) yield path;
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  #damaged(path: string, happened: string): AirliftError {
    return new AirliftError('damaged', `read ${this.file}: ${JSON.stringify(path)} ${happened}`);
  }

  #add(entry: TarEntry): void {
    if (entry.kind === 'directory' || entry.kind === 'special') return;
    const path = entry.name.split('/').includes('..') ? undefined : plainPath(entry.name);
    if (path === undefined || path === '')
      throw this.#damaged(entry.name, 'is a name that leads out of the archive');
    this.#characters += path.length;
    if (this.#characters > maxPathCharacters)
      throw new AirliftError(
        'unsupported',
        `read ${this.file}: names of more than ${maxPathCharacters} characters`,
      );
    if (entry.kind === 'file') {
      const before = this.#nodes.get(path);
      const copies = before === undefined ? 1 : 'copies' in before ? before.copies + 1 : 2;
      this.#nodes.set(path, { offset: entry.offset, size: entry.size, copies });
      return;
    }
    const from = entry.kind === 'symlink' ? path.split('/').slice(0, -1) : [];
    const absolute = entry.kind === 'symlink' && entry.linkName.startsWith('/');
    this.#nodes.set(path, { target: absolute ? undefined : plainPath(entry.linkName, from) });
  }
}
