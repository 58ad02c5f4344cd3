import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Catalog, type BundleBlob } from '../../bundle/format/catalog.js';
import { EntryReader } from '../../bundle/format/entry-reader.js';
import { BundleFile } from '../../bundle/format/file.js';
import { headLimits } from '../../bundle/format/format.js';
import { readHead } from '../../bundle/format/head.js';
import { absenceOf, findVolumes, signedPath, type FoundVolume } from '../../bundle/format/volumes/find.js';
import { brokenImages } from '../../bundle/format/volumes/damage.js';
import type { VolumeList } from '../../bundle/format/volumes/list.js';
import { openChecked } from '../../bundle/verify/check-front.js';
import {
  checkRequired,
  requiredSignature,
  type RequiredSignature,
} from '../../bundle/verify/check-signatures.js';
import { HashPool } from '../../bundle/verify/hash-pool.js';
import type { BundleReader } from '../../bundle/reader.js';
import { AirliftError, isAirliftError, messageOf } from '../../errors.js';
import { openBundle, type InputOptions, type Inputs } from '../../merge/open-inputs.js';
import { directoriesOf, oneOfVolumes } from '../../merge/volume-inputs.js';
import { hexOf } from '../../oci/digest.js';
import type { OnEvent } from '../../progress.js';
import { HeldVolumes } from './held-volumes.js';
import { lookForVolume } from './look-for-volume.js';

/** A volume that an import waits for. */
export interface WantedVolume {
  /** Counts from 1. */
  readonly number: number;
  /** Number of volumes of the bundle. */
  readonly volumes: number;
  /** File name. */
  readonly name: string;
  /** Directories that are searched. */
  readonly directories: readonly string[];
  /** Why the files that were found cannot be used, one sentence each. */
  readonly problems: readonly string[];
}

/**
 * Asks for a volume, and resolves when it may be there: to the path of a further directory to search, or to an empty text. Undefined ends
 * the import: nobody answers.
 */
export type AskVolume = (wanted: WantedVolume, signal?: AbortSignal) => Promise<string | undefined>;

export interface WaitOptions extends InputOptions {
  readonly askVolume?: AskVolume | undefined;
}

/** A bundle whose volumes come one after another. Its front, up to the first layer, is there. */
export class WaitedBundle {
  #current: { readonly number: number; readonly path: string } | undefined;
  /** Whether the last volume was given up, so that the next request says at once what is there instead. */
  #isLost = false;
  #reader: BundleReader | undefined;
  readonly #directories: string[];

  private constructor(
    /** As the caller named the bundle. */
    private readonly path: string,
    private readonly name: string,
    private readonly list: VolumeList,
    readonly volumes: readonly FoundVolume[],
    directories: readonly string[],
    readonly held: HeldVolumes,
    private readonly ask: AskVolume,
    private readonly onEvent: OnEvent | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#directories = [...directories];
  }

  /**
   * Opens the front of a bundle in volumes, and checks its signature and its manifests before it returns. Closing the inputs closes all of it.
   * @returns undefined unless `askVolume` is set and volumes are missing
   * @throws AirliftError as `openInputs`; `not-found` if nobody inserts a volume or its list is not there
   */
  static async open(options: WaitOptions): Promise<{ bundle: WaitedBundle; inputs: Inputs } | undefined> {
    const { askVolume, inputs: paths, archives = {}, onEvent, signal } = options;
    if (askVolume === undefined) return undefined;
    if (paths.includes('-')) {
      throw new AirliftError('usage', 'import -: `askVolume` needs standard input for the answers', {
        hint: 'name the list of the volumes instead of -',
      });
    }
    const [path, ...others] = oneOfVolumes(paths);
    if (path === undefined || others.length > 0) return undefined;
    const found = await findVolumes(path, directoriesOf(paths, archives.volumeDirs));
    if (found?.list === undefined) {
      await requireInput(path);
      return undefined;
    }
    if (found.volumes.every((volume) => absenceOf(volume, found.directories) === undefined)) return undefined;
    const requireSignature = await requiredSignature(archives.requireSignature);
    const joined = join(dirname(path), found.name);
    const held = await HeldVolumes.create(joined, found.volumes, archives.tmpDir);
    const bundle = new WaitedBundle(
      path,
      found.name,
      found.list,
      found.volumes,
      found.directories,
      held,
      askVolume,
      onEvent,
      signal,
    );
    try {
      return { bundle, inputs: await bundle.#openFront(options, requireSignature) };
    } catch (error) {
      await held.release();
      throw error;
    }
  }

  /** Copies the bundle's front from its first volumes, and opens the bundle. */
  async #openFront(options: WaitOptions, requireSignature: RequiredSignature | undefined): Promise<Inputs> {
    const { signal } = this;
    for (const volume of this.volumes) {
      await this.insert(volume);
      const end = await this.#frontEnd(requireSignature);
      const volumeEnd = volume.start + volume.size;
      await this.held.keepFront(Math.min(end ?? Infinity, volumeEnd), signal);
      if (end !== undefined && end <= volumeEnd) break;
    }
    const { onCatalogSize } = options.archives ?? {};
    const reader = await openChecked(this.#place, {
      signal,
      name: this.path,
      requireSignature,
      onCatalogSize,
    });
    this.#reader = reader;
    this.held.seal();
    const inputs = await openBundle(reader, options);
    return {
      ...inputs,
      // The content of every volume is verified before it is used: errors of reading are not damage.
      explain: undefined,
      close: () => inputs.close().finally(() => this.held.release()),
    };
  }

  /** Returns the position behind the last manifest or config; undefined if further volumes are needed to tell. */
  async #frontEnd(requireSignature: RequiredSignature | undefined): Promise<number | undefined> {
    const file = await BundleFile.open(this.#place, 'r', this.path);
    if (!(await this.#hasHead(file))) return undefined;
    const head = await readHead(file);
    // First, so that the database of an unknown maker is not even parsed.
    if (requireSignature !== undefined)
      await checkRequired(file, head, await signedPath(this.held.path), requireSignature);
    const catalog = await Catalog.open(file, head);
    try {
      let end = head.start;
      for (const { kind, offset, size } of catalog.blobs())
        if (kind !== 'layer' && offset !== undefined) end = Math.max(end, head.start + offset + size);
      return end;
    } finally {
      catalog.close();
    }
  }

  /** Reports whether the whole head is there, or cannot be read. */
  async #hasHead(file: BundleFile): Promise<boolean> {
    const reader = new EntryReader(file);
    let position = 0;
    for (let entries = 0; entries < headLimits.entries; entries++) {
      const entry = await reader.readEntry(position);
      if (entry === 'cut') return false;
      if (typeof entry === 'string' || entry.name.startsWith('blobs/')) return true;
      position = entry.end;
    }
    return true;
  }

  get #place(): { readonly path: string; readonly files: HeldVolumes } {
    return { path: this.held.path, files: this.held };
  }

  /** The catalog, and the position that its offsets count from. */
  get front(): { readonly catalog: Catalog; readonly start: number } {
    if (this.#reader === undefined) throw new AirliftError('io', `read ${this.path}: it is not open yet`);
    return { catalog: this.#reader.catalog, start: this.#reader.head.start };
  }

  /**
   * Returns the volumes that hold bytes of a blob which are not copied with the front.
   * @param blob with its offset, as the catalog gives it
   */
  volumesOf({ offset, size }: BundleBlob & { readonly offset: number }): FoundVolume[] {
    const begin = this.front.start + offset;
    const end = begin + size;
    if (end <= this.held.frontEnd) return [];
    return this.volumes.filter((volume) => volume.start < end && volume.start + volume.size > begin);
  }

  /**
   * Waits until a volume is there and matches the list, and opens it.
   * @throws AirliftError `not-found` if nobody inserts it, `interrupted`
   */
  async insert(volume: FoundVolume): Promise<void> {
    if (this.#current?.number === volume.number) return;
    this.held.eject();
    this.#current = undefined;
    let saysInstead = this.#isLost;
    this.#isLost = false;
    for (;;) {
      const { paths, instead } = await lookForVolume(this.name, this.list, volume, this.#directories);
      const damaged: string[] = [];
      for (const path of paths) {
        this.onEvent?.({ event: 'reading', file: path });
        const damage = await this.#damageOf(volume, path);
        if (damage === undefined) {
          this.held.insert(volume, path);
          this.#current = { number: volume.number, path };
          return;
        }
        damaged.push(...damage);
      }
      // At the first request the medium of the last volume is still there, which is no mistake of the user.
      await this.#askFor(volume, saysInstead ? [...damaged, ...instead] : damaged);
      saysInstead = true;
    }
  }

  /** Reports whether the inserted volume does not match the list any more, and gives it up if so. */
  async isLost(volume: FoundVolume): Promise<boolean> {
    if (this.#current?.number !== volume.number) return true;
    if ((await this.#damageOf(volume, this.#current.path)) === undefined) return false;
    this.held.eject();
    this.#current = undefined;
    this.#isLost = true;
    return true;
  }

  async #askFor(volume: FoundVolume, problems: readonly string[]): Promise<void> {
    const { number, name } = volume;
    const volumes = this.volumes.length;
    const directories = this.#directories;
    const answer = await this.ask({ number, volumes, name, directories, problems }, this.signal);
    if (answer === undefined) {
      throw new AirliftError(
        'not-found',
        `import ${this.path}: volume ${number} of ${volumes} (${name}) is missing in ${directories.join(', ')}, and standard input has ended`,
        {
          lines: problems,
          hint: 'insert it and run the same command again: it sends only what is missing',
        },
      );
    }
    if (answer !== '' && !directories.includes(answer)) directories.push(answer);
  }

  /** Compares a file with the list; returns what is wrong, and the images that need the volume. Undefined if nothing is. */
  async #damageOf(volume: FoundVolume, path: string): Promise<string[] | undefined> {
    let happened: string | undefined;
    const pool = new HashPool({ path, isSingle: true }, 1);
    try {
      await pool.hash([{ id: 0, position: 0, size: volume.size, algorithm: 'sha256' }], {
        signal: this.signal,
        onProgress: () => undefined,
        onResult: ({ hex }) => {
          if (volume.digest === undefined || hexOf(volume.digest) === hex) return;
          happened = `is damaged, or of another bundle with this name: digest mismatch; got sha256:${hex}, want ${volume.digest}`;
        },
      });
    } catch (error) {
      // A failing stick, or one that is pulled out.
      if (!isAirliftError(error, 'io')) throw error;
      happened = `cannot be read: ${messageOf(error)}`;
    } finally {
      await pool.close();
    }
    if (happened === undefined) return undefined;
    return [`${path} ${happened}: copy only this volume again`, ...this.#imagesOf(volume)];
  }

  /** Names the images that need a volume, if the catalog is known already. */
  #imagesOf({ start, size }: FoundVolume): string[] {
    if (this.#reader === undefined) return [];
    const { catalog, head } = this.#reader;
    return brokenImages({ catalog, start: head.start }, start, start + size);
  }
}

/**
 * Rejects an input that does not exist. One that does is no bundle in volumes with a list: an ordinary file or directory.
 * @throws AirliftError `not-found`
 */
async function requireInput(path: string): Promise<void> {
  try {
    await access(path);
  } catch {
    throw new AirliftError('not-found', `open ${path}: no such file`, {
      hint: 'insert the first stick, or name the list on another one: each should hold it (NAME.volumes)',
    });
  }
}
