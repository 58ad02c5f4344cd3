import { plainPath } from '../../tar/scan.js';
import { isEmulator } from './elf.js';
import type { LayerFile, LayerFiles } from './layer-files.js';

/** Returns the files of a layer by index, 0 for the lowest. */
export type FilesOf = (layer: number) => Promise<LayerFiles>;

export type Program = Extract<LayerFile, { kind: 'program' }>;

/** Where programs are looked for if the image does not say. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The most links that are followed to find a program, and to find where one folder of a layer lies. */
const maxSteps = 60;
/** The most folders of a layer that lie below links. */
const maxMoved = 10_000;

/** What is known about a layer without its image. */
interface Shape {
  /** Paths of symlinks. */
  readonly links: readonly string[];
  /** Folders that its entries lie in. */
  readonly folders: ReadonlySet<string>;
}

/** Shapes of layers that several images share. */
const shapes = new WeakMap<LayerFiles, Shape>();

function shapeOf(layer: LayerFiles): Shape {
  const known = shapes.get(layer);
  if (known !== undefined) return known;
  const links: string[] = [];
  const folders = new Set<string>();
  const addFolders = (path: string): void => {
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      const folder = path.slice(0, slash);
      if (folders.has(folder)) return;
      folders.add(folder);
    }
  };
  for (const [path, file] of layer.files) {
    addFolders(path);
    if (file.kind === 'link' && !file.isHard) links.push(path);
  }
  for (const path of layer.removed) addFolders(path);
  for (const path of layer.opaque) {
    addFolders(path);
    folders.add(path);
  }
  const shape = { links, folders };
  shapes.set(layer, shape);
  return shape;
}

/** The names that the folders of a layer have in its archive, by where they lie in the image. */
type Moved = ReadonlyMap<string, readonly string[]>;

const nothingMoved: Moved = new Map();

/**
 * The file system of an image: its layers stacked. An entry below a symlink of a lower layer, such as `bin/tool` above `bin -> usr/bin`,
 * lies where the symlink leads, as container engines unpack it; inside the root.
 */
export class ImageFiles {
  #steps = 0;
  /** By layer; filled from below. */
  readonly #moved: Moved[] = [];
  #isStacked = false;

  constructor(
    private readonly count: number,
    private readonly filesOf: FilesOf,
  ) {}

  /** Returns the program that runs when `path` is started, following links and interpreters, and its path. */
  async program(path: string): Promise<[string, Program] | undefined> {
    await this.#stack();
    const real = await this.#real(path, this.count, () => this.#steps++ <= maxSteps);
    const file = real === undefined ? undefined : await this.#lookUp(real, this.count);
    if (real === undefined || file === undefined) return undefined;
    if (file.kind === 'program') return [real, file];
    if (file.kind !== 'script' || this.#steps++ > maxSteps) return undefined;
    return file.interpreter.includes('/') ? this.program(file.interpreter) : this.#anywhere(file.interpreter);
  }

  /**
   * Returns the architectures of the programs in `bin` folders, or of all programs if there are none there.
   * @param but the path of a program to ignore
   * @returns architectures, most frequent first
   */
  async architectures(but?: string): Promise<string[]> {
    await this.#stack();
    const inBin = new Map<string, number>();
    const elsewhere = new Map<string, number>();
    for (let layer = 0; layer < this.count; layer++) {
      for (const [path, file] of (await this.filesOf(layer)).files) {
        if (file.kind !== 'program' || file.elf.architecture === undefined || isEmulator(path)) continue;
        if (path === but || (await this.#lookUp(path, this.count)) !== file) continue;
        const counts = /(?:^|\/)s?bin\//.test(path) ? inBin : elsewhere;
        counts.set(file.elf.architecture, (counts.get(file.elf.architecture) ?? 0) + 1);
      }
    }
    const counts = inBin.size > 0 ? inBin : elsewhere;
    return [...counts].sort(([, a], [, b]) => b - a).map(([architecture]) => architecture);
  }

  async #anywhere(name: string): Promise<[string, Program] | undefined> {
    for (const folder of defaultPath.split(':')) {
      const found = await this.program(`${folder}/${name}`);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Finds the folders of each layer that lie below symlinks of the layers up to it. */
  async #stack(): Promise<void> {
    if (this.#isStacked) return;
    this.#isStacked = true;
    const links = new Set<string>();
    for (let layer = 0; layer < this.count; layer++) {
      const shape = shapeOf(await this.filesOf(layer));
      for (const link of shape.links) links.add(link);
      this.#moved[layer] = await this.#movedIn(shape, links, layer + 1);
    }
  }

  async #movedIn({ folders }: Shape, links: ReadonlySet<string>, below: number): Promise<Moved> {
    if (folders.size === 0 || links.size === 0) return nothingMoved;
    const moved = new Map<string, string[]>();
    let count = 0;
    // A folder below a folder that is moved may have no link of its own name.
    const isMoved = (folder: string): boolean => {
      for (let end = folder.length; end > 0; end = folder.lastIndexOf('/', end - 1))
        if (links.has(folder.slice(0, end))) return true;
      return false;
    };
    for (const folder of folders) {
      if (!isMoved(folder) || count >= maxMoved) continue;
      let steps = 0;
      const real = await this.#real(folder, below, () => steps++ < maxSteps);
      if (real === undefined || real === folder) continue;
      count++;
      const names = moved.get(real);
      if (names === undefined) moved.set(real, [folder]);
      else names.push(folder);
    }
    return moved;
  }

  /** Returns the names that a path may have in the archive of a layer. */
  #namesIn(layer: number, path: string): string[] {
    const moved = this.#moved[layer];
    if (moved === undefined || moved.size === 0) return [path];
    const slash = path.lastIndexOf('/');
    const name = path.slice(slash + 1);
    const folders = moved.get(path.slice(0, Math.max(0, slash))) ?? [];
    return [path, ...folders.map((folder) => `${folder}/${name}`)];
  }

  /**
   * Returns the path with all links followed, also those of its folders; undefined where a link is circular.
   * @param below layers from this one up are ignored
   * @param mayFollow called before a link is followed
   */
  async #real(path: string, below: number, mayFollow: () => boolean): Promise<string | undefined> {
    let rest = path.split('/');
    let done: string[] = [];
    while (rest.length > 0) {
      const [part = '', ...after] = rest;
      rest = after;
      if (part === '' || part === '.') continue;
      if (part === '..') {
        done.pop();
        continue;
      }
      const at = [...done, part].join('/');
      const file = await this.#lookUp(at, below);
      if (file?.kind !== 'link') {
        done.push(part);
        continue;
      }
      if (!mayFollow()) return undefined;
      if (file.isHard || file.target.startsWith('/')) done = [];
      rest = [...file.target.split('/'), ...rest];
    }
    return plainPath(done.join('/'));
  }

  async #lookUp(path: string, below: number): Promise<LayerFile | undefined> {
    for (let layer = below - 1; layer >= 0; layer--) {
      const { files, removed, opaque } = await this.filesOf(layer);
      const names = this.#namesIn(layer, path);
      for (const name of names) {
        const file = files.get(name);
        if (file !== undefined) return file;
      }
      if (removed.size === 0 && opaque.size === 0) continue;
      if (names.some((name) => removed.has(name))) return undefined;
      for (let slash = path.lastIndexOf('/'); slash >= 0; slash = path.lastIndexOf('/', slash - 1)) {
        const folder = path.slice(0, slash);
        const isHidden = (name: string): boolean => removed.has(name) || opaque.has(name);
        if (this.#namesIn(layer, folder).some(isHidden)) return undefined;
        if (this.#moved[layer]?.get(folder)?.some((name) => opaque.has(name)) === true) return undefined;
        if (slash === 0) break;
      }
      if (opaque.has('')) return undefined;
    }
    return undefined;
  }
}
