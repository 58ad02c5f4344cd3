import { plainPath, type TarEntry } from '../tar/scan.js';

/** The most bytes of a path and of one of its names that Linux takes (`PATH_MAX` without its NUL, `NAME_MAX`). */
const maxPathBytes = 4095;
const maxNameBytes = 255;
/** The most symlinks out of the root that are kept, to find entries below them. */
const maxLeaving = 10_000;
/** Problems that are listed for one layer; the others are counted. */
const maxListed = 10;
/** The most characters of the folders of a layer that are kept, to find symlinks of lower layers above them. */
const maxFolderText = 8 * 1024 * 1024;

const whiteout = '.wh.';

/** Where the entries of a layer lie, to compare it with the layers below. */
export interface LayerReach {
  /** Paths of symlinks that leave the root with `..`. */
  readonly leaving: readonly string[];
  /** Folders in which entries lie, those above them not included; cut if there are too many. */
  readonly folders: readonly string[];
  readonly isWhole: boolean;
}

/** Quotes a path of a layer for a message. */
export function quote(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}

/** Entries of one kind that container engines accept: their number, and the first of them. */
class Odd {
  #count = 0;
  #first = '';

  add(name: string): void {
    if (this.#count++ === 0) this.#first = quote(name);
  }

  /** Describes them; nothing if there are none. */
  describe(what: (count: number) => string): string[] {
    return this.#count === 0 ? [] : [`${what(this.#count)}, first ${this.#first}`];
  }
}

/**
 * Checks where the entries of a layer lead, by their names alone. Container engines confine every path to the root (containerd resolves the
 * parents of an entry and the targets of hard links inside it; umoci does the same), and a symlink is resolved when the container runs, in its
 * own root. So absolute names and targets are harmless, and a symlink with too many `..` stops at the root. No builder writes an entry or a hard
 * link with a `..` that leads out of the root, or an entry below a symlink that does: only programs without such confinement are their target.
 */
export class EntryRules {
  readonly #problems: string[] = [];
  #unlisted = 0;
  /** Paths of symlinks that leave the root. */
  readonly #leaving = new Set<string>();
  readonly #folders = new Set<string>();
  #folderText = 0;
  readonly #absolute = new Odd();
  readonly #symlinks = new Odd();

  add({ name, kind, linkName }: TarEntry): void {
    const path = plainPath(name);
    if (path === undefined) return this.#report(`entry ${quote(name)} leaves the root`);
    if (name.startsWith('/')) this.#absolute.add(name);
    this.#checkLength(path, name);
    const slash = path.lastIndexOf('/');
    const base = path.slice(slash + 1);
    if (base.startsWith(whiteout) && ['', '.', '..'].includes(base.slice(whiteout.length)))
      this.#report(`invalid whiteout ${quote(name)}: it names no file`);
    if (slash > 0) this.#addFolder(path.slice(0, slash));
    if (this.#leaving.size > 0) this.#checkParents(path, name);
    if (kind === 'hardlink') this.#checkHardLink(name, linkName);
    const folder = linkName.startsWith('/') || slash < 0 ? [] : path.slice(0, slash).split('/');
    if (kind === 'symlink' && plainPath(linkName, folder) === undefined) this.#addLeaving(path, name);
    else this.#leaving.delete(path);
  }

  /** Returns what decides about its entries above other layers. */
  reach(): LayerReach {
    const isWhole = this.#folderText <= maxFolderText;
    return { leaving: [...this.#leaving], folders: [...this.#folders], isWhole };
  }

  #addFolder(folder: string): void {
    if (this.#folderText > maxFolderText || this.#folders.has(folder)) return;
    this.#folderText += folder.length;
    if (this.#folderText <= maxFolderText) this.#folders.add(folder);
  }

  /** Lists what makes the layer unsafe or impossible to unpack. */
  problems(): string[] {
    return this.#unlisted === 0
      ? this.#problems
      : [...this.#problems, `and ${this.#unlisted} more entries that leave the root or have invalid names`];
  }

  /** Lists what engines accept, and other programs may not. */
  warnings(): string[] {
    const entries = (count: number): string => (count === 1 ? '1 entry' : `${count} entries`);
    return [
      ...this.#absolute.describe((count) => `${entries(count)} with an absolute name`),
      ...this.#symlinks.describe(
        (count) => `${count === 1 ? '1 symlink' : `${count} symlinks`} with more ".." than folders above`,
      ),
    ];
  }

  #report(problem: string): void {
    if (this.#problems.length < maxListed) this.#problems.push(problem);
    else this.#unlisted++;
  }

  #checkLength(path: string, name: string): void {
    if (path.length <= maxNameBytes / 3) return;
    const bytes = Buffer.byteLength(path);
    if (bytes > maxPathBytes)
      return this.#report(`entry ${quote(name)}: path of ${bytes} bytes; want at most ${maxPathBytes}`);
    const longest = Math.max(...path.split('/').map((part) => Buffer.byteLength(part)));
    if (longest > maxNameBytes)
      this.#report(`entry ${quote(name)}: name of ${longest} bytes; want at most ${maxNameBytes}`);
  }

  /** A hard link reads its target when the layer is unpacked, through the symlinks that are there by then. */
  #checkHardLink(name: string, linkName: string): void {
    const target = plainPath(linkName);
    if (target === undefined)
      return this.#report(`hard link ${quote(name)} to ${quote(linkName)} leaves the root`);
    const slash = target.lastIndexOf('/');
    if (slash > 0) this.#addFolder(target.slice(0, slash));
    if (this.#leaving.size > 0) this.#checkParents(target, name);
  }

  #checkParents(path: string, name: string): void {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
      const parent = path.slice(0, slash);
      if (!this.#leaving.has(parent)) continue;
      return this.#report(
        path === plainPath(name)
          ? `entry ${quote(name)} lies below the symlink ${quote(parent)}, which leaves the root`
          : `hard link ${quote(name)} has its target below the symlink ${quote(parent)}, which leaves the root`,
      );
    }
  }

  #addLeaving(path: string, name: string): void {
    this.#symlinks.add(name);
    if (this.#leaving.size < maxLeaving) this.#leaving.add(path);
    else this.#report(`more than ${maxLeaving} symlinks leave the root`);
  }
}
