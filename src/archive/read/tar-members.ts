import type { FileHandle } from 'node:fs/promises';
import { AirliftError, checkInterrupted } from '../../errors.js';
import { RangeCursor, FileRange, type PlacedRange } from '../../io/byte-range.js';
import { maxMembers, type Members } from './members.js';
import { plainPath, scanTar, type TarEntry } from '../../tar/scan.js';

/** A file (by position) or a link (by target path), and the previous entry with the same name. */
type Node = ({ offset: number; size: number } | { target: string | undefined }) & {
  readonly earlier?: Node | undefined;
};

const maxLinks = 40;
/** Bytes compared at a time. */
const comparedChunk = 1024 * 1024;
/** The most characters of all paths together, because they are kept in memory. */
const maxPathCharacters = 256 * 1024 * 1024;

async function isSame(a: PlacedRange | undefined, b: PlacedRange | undefined): Promise<boolean> {
  if (a === undefined || b === undefined) return a === b;
  if (a.size !== b.size) return false;
  for (let at = 0; at < a.size; at += comparedChunk) {
    const [one, other] = await Promise.all([a.read(at, comparedChunk), b.read(at, comparedChunk)]);
    if (!one.equals(other)) return false;
  }
  return true;
}

/** The files of an uncompressed tar file, found by one pass over its headers; content is read in place. */
export class TarMembers implements Members {
  readonly #nodes = new Map<string, Node>();
  /** The content of names that several entries share, after comparison. */
  readonly #repeated = new Map<string, PlacedRange | undefined>();
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
   * Scans the headers in the first `size` bytes of `handle`, which is closed with the members.
   * @throws AirliftError `damaged` where a path leads outside the archive; errors of `scanTar`
   */
  static async open(
    handle: FileHandle,
    size: number,
    file: string,
    signal?: AbortSignal,
  ): Promise<TarMembers> {
    const members = new TarMembers(handle, size, file);
    const scan = scanTar(new RangeCursor(members.#range), file, maxMembers);
    for (;;) {
      checkInterrupted(signal, `read ${file}`);
      const { value, done } = await scan.next();
      if (done === true) {
        members.#marked = value;
        return members;
      }
      members.#add(value);
    }
  }

  get missingHint(): string | undefined {
    return this.#marked ? undefined : 'the archive has no end mark: it may be truncated';
  }

  find(path: string): Promise<PlacedRange | undefined> {
    return Promise.resolve().then(() => this.#find(path));
  }

  async #find(path: string, followed = 0): Promise<PlacedRange | undefined> {
    const at = plainPath(path);
    if (at === undefined) throw this.#damaged(path, 'is a path that leads outside the archive');
    const node = this.#nodes.get(at);
    if (node?.earlier === undefined)
      return node === undefined ? undefined : this.#contentOf(at, node, followed);
    if (!this.#repeated.has(at)) this.#repeated.set(at, await this.#sameContent(at, node, followed));
    return this.#repeated.get(at);
  }

  #contentOf(at: string, node: Node, followed: number): Promise<PlacedRange | undefined> {
    if ('offset' in node) return Promise.resolve(this.#range.part(node.offset, node.size));
    if (node.target === undefined) throw this.#damaged(at, 'is a link to a path outside the archive');
    if (followed >= maxLinks || node.target === at) throw this.#damaged(at, 'is a circular link');
    return this.#find(node.target, followed + 1);
  }

  /**
   * Returns the content of a name that several entries share: archives of related images, and archives that were appended to, repeat
   * entries.
   * @throws AirliftError `damaged` where their bytes differ, because it is unclear which one is meant
   */
  async #sameContent(at: string, last: Node, followed: number): Promise<PlacedRange | undefined> {
    const content = await this.#contentOf(at, last, followed);
    for (let node = last.earlier; node !== undefined; node = node.earlier) {
      const other = await this.#contentOf(at, node, followed);
      if (await isSame(content, other)) continue;
      throw new AirliftError(
        'damaged',
        `read ${this.file}: ${JSON.stringify(at)} occurs more than once in the archive, with different content`,
        {
          hint: 'get the archive from its publisher again, or unpack it and pack only the files that you want',
        },
      );
    }
    return content;
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
      throw this.#damaged(entry.name, 'is a path that leads outside the archive');
    this.#characters += path.length;
    if (this.#characters > maxPathCharacters)
      throw new AirliftError(
        'unsupported',
        `read ${this.file}: its paths have more than ${maxPathCharacters} characters in total`,
      );
    const earlier = this.#nodes.get(path);
    if (entry.kind === 'file') {
      this.#nodes.set(path, { offset: entry.offset, size: entry.size, earlier });
      return;
    }
    const from = entry.kind === 'symlink' ? path.split('/').slice(0, -1) : [];
    const absolute = entry.kind === 'symlink' && entry.linkName.startsWith('/');
    const target = absolute ? undefined : plainPath(entry.linkName, from);
    // GNU tar stores a file that is listed twice as a hard link to itself.
    if (entry.kind === 'hardlink' && target === path && earlier !== undefined) return;
    this.#nodes.set(path, { target, earlier });
  }
}
