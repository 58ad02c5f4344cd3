import { elfHeaderLength, parseElfHeader, type ElfHeader } from './elf.js';
import { RangeCursor, StreamCursor, type ByteCursor, type ByteRange } from '../../io/byte-range.js';
import { magicLength, decompress, detectCompression } from '../compression/decompress.js';
import { plainPath, scanTar, type TarEntry } from '../../tar/scan.js';

/** A file of a layer, reduced to what matters for finding the program of an image. */
export type LayerFile =
  | {
      readonly kind: 'program';
      readonly elf: ElfHeader;
      /** Position and size in the uncompressed layer. */
      readonly offset: number;
      readonly size: number;
      /** Reads the program; undefined where that needs decompression. */
      readonly read?: ((position: number, length: number) => Promise<Buffer>) | undefined;
    }
  | { readonly kind: 'script'; readonly interpreter: string }
  | { readonly kind: 'link'; readonly target: string; readonly isHard: boolean }
  | { readonly kind: 'directory' }
  | { readonly kind: 'other' };

/** The changes of a layer: folders, programs, scripts and links by path, and removed paths. */
export interface LayerFiles {
  readonly files: ReadonlyMap<string, LayerFile>;
  /** Paths that the layer removes (OCI image-spec, layer.md, "Whiteouts"). */
  readonly removed: ReadonlySet<string>;
  /** Folders whose content in lower layers is hidden. */
  readonly opaque: ReadonlySet<string>;
  /** Whether the layer was read to its end. */
  readonly isWhole: boolean;
}

/** Limits for scanning a layer. */
const maxEntries = 500_000;
const maxFiles = 200_000;
/** The most bytes of a compressed layer that are decompressed to find its programs. */
const maxUnpacked = 256 * 1024 * 1024;
const shebangLength = 256;
/** The most characters of all paths and link targets of a layer that are kept, and of one of them: Linux takes no longer ones. */
const maxText = 16 * 1024 * 1024;
const maxPath = 4096;

const nothing: LayerFiles = { files: new Map(), removed: new Set(), opaque: new Set(), isWhole: false };

function interpreterOf(head: Buffer): string | undefined {
  // Flags and variables may follow env: `#!/usr/bin/env -S LANG=C python3`.
  const line = /^#![ \t]*(\S+)(?:[ \t]+(?:(?:-\S*|\w+=\S*)[ \t]+)*(\S+))?/.exec(head.toString('latin1'));
  if (line === null) return undefined;
  const [, path = '', argument] = line;
  return /\/env$/.test(path) && argument !== undefined ? argument : path;
}

/** Collects the files of a layer, in bounded memory, while it is scanned. */
export class LayerFileCollector {
  readonly files = new Map<string, LayerFile>();
  readonly removed = new Set<string>();
  readonly opaque = new Set<string>();
  #text = 0;

  /** Whether no more files are collected. */
  get isFull(): boolean {
    return this.files.size >= maxFiles || this.#text >= maxText;
  }

  /** Adds an entry. May read the head of its content. */
  async add(entry: TarEntry): Promise<void> {
    if (this.isFull || entry.name.length > maxPath || entry.linkName.length > maxPath) return;
    const path = plainPath(entry.name);
    if (path === undefined || path === '' || entry.kind === 'special') return;
    this.#text += path.length + entry.linkName.length;
    const slash = path.lastIndexOf('/');
    const [folder, name] = [path.slice(0, Math.max(0, slash)), path.slice(slash + 1)];
    if (name === '.wh..wh..opq') this.opaque.add(folder);
    else if (name.startsWith('.wh.'))
      this.removed.add(folder === '' ? name.slice(4) : `${folder}/${name.slice(4)}`);
    else if (entry.kind === 'directory') this.files.set(path, { kind: 'directory' });
    else if (entry.kind === 'file') await this.#addFile(path, entry);
    else this.files.set(path, { kind: 'link', target: entry.linkName, isHard: entry.kind === 'hardlink' });
  }

  async #addFile(path: string, entry: TarEntry): Promise<void> {
    if ((entry.mode & 0o111) === 0) {
      // Of several entries with one name, the last counts.
      if (this.files.has(path)) this.files.set(path, { kind: 'other' });
      return;
    }
    const head = await entry.head(shebangLength);
    const elf = parseElfHeader(head.subarray(0, elfHeaderLength));
    const interpreter = elf === undefined ? interpreterOf(head) : undefined;
    const { offset, size } = entry;
    if (elf !== undefined) {
      this.files.set(path, { kind: 'program', elf, offset, size });
    } else if (interpreter !== undefined) {
      this.files.set(path, { kind: 'script', interpreter });
    } else {
      this.files.set(path, { kind: 'other' });
    }
  }
}

async function collect(cursor: ByteCursor, maxBytes: number): Promise<LayerFiles> {
  const collector = new LayerFileCollector();
  const { files, removed, opaque } = collector;
  let isWhole = true;
  try {
    for await (const entry of scanTar(cursor, 'layer', maxEntries, true)) {
      await collector.add(entry);
      if (!collector.isFull && cursor.position < maxBytes) continue;
      isWhole = false;
      break;
    }
  } catch {
    // A damaged layer yields what was found so far; its digest is verified when it is transferred.
    isWhole = false;
  }
  return { files, removed, opaque, isWhole };
}

/** Adds to the programs of an uncompressed layer the function that reads them. */
export function withContent(layer: ByteRange, found: LayerFiles): LayerFiles {
  const files = new Map<string, LayerFile>();
  for (const [path, file] of found.files) {
    if (file.kind !== 'program') {
      files.set(path, file);
      continue;
    }
    const end = file.offset + file.size;
    const read = (position: number, length: number): Promise<Buffer> => {
      const at = Math.min(end, file.offset + position);
      return layer.read(at, Math.min(length, end - at));
    };
    files.set(path, { ...file, read });
  }
  return { ...found, files };
}

/** Finds programs, scripts and links in the content of a layer that is read anyway. */
export function filesOfStream(content: AsyncIterable<Uint8Array>): Promise<LayerFiles> {
  return collect(new StreamCursor(content), Infinity);
}

/** Finds programs, scripts and links in an uncompressed layer, and reads little more of it than its headers. */
export function filesOfTar(layer: Pick<ByteRange, 'size' | 'read'>): Promise<LayerFiles> {
  return collect(new RangeCursor(layer), Infinity);
}

/** Finds programs, scripts and links in a layer. An unreadable layer yields what was found before the damage. */
export async function readLayerFiles(layer: ByteRange | undefined): Promise<LayerFiles> {
  if (layer === undefined) return nothing;
  try {
    if (detectCompression(await layer.read(0, magicLength), 'layer') === 'none')
      return withContent(layer, await filesOfTar(layer));
    const { content } = await decompress(layer.stream(), 'layer');
    try {
      return await collect(new StreamCursor(content), maxUnpacked);
    } finally {
      content.destroy();
    }
  } catch {
    return nothing;
  }
}
