import { isObject } from '../../oci/descriptor.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { armVariant, isEmulator, runsOn } from './elf.js';
import type { LayerFile, LayerFiles } from './layer-files.js';
import { plainPath } from '../../tar/scan.js';

/** The architectures of an image's programs. */
export interface ProgramEvidence {
  /** The architecture of the program that the image starts; if that is not found, those of all its programs, most frequent first. */
  readonly architectures: readonly string[];
  /** Whether the started program was found. */
  readonly isStarted: boolean;
  /** The architecture of most other programs, if the started one does not run on the claimed architecture. */
  readonly others?: string | undefined;
  /** The variant of 32-bit arm that the started program needs, if its compiler recorded it. */
  readonly variant: string | undefined;
}

/** Returns the files of a layer by index, 0 for the lowest. */
export type FilesOf = (layer: number) => Promise<LayerFiles>;

type Program = Extract<LayerFile, { kind: 'program' }>;

const maxSteps = 60;
/** The most words of a command that are searched for the program behind an emulator. */
const maxWords = 20;
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** The command of an image (OCI image-spec, config.md, `Entrypoint`, `Cmd`), and the paths that a word of it may have. */
interface Start {
  readonly words: readonly string[];
  readonly placesOf: (command: string) => string[];
}

function startOf(config: Buffer): Start {
  const { config: run } = parseJsonObject(config, 'config');
  if (!isObject(run)) return { words: [], placesOf: () => [] };
  const words = [...texts(run['Entrypoint']), ...texts(run['Cmd'])];
  return { words, placesOf: (command) => placesOf(command, run) };
}

/** Returns the possible paths of a command, most likely first (`Env`, `WorkingDir`). */
function placesOf(command: string, run: Readonly<Record<string, unknown>>): string[] {
  if (command === '') return [];
  if (command.startsWith('/')) return [command];
  if (command.includes('/')) {
    const folder = typeof run['WorkingDir'] === 'string' ? run['WorkingDir'] : '/';
    return [`${folder}/${command}`];
  }
  const path =
    texts(run['Env'])
      .find((item) => item.startsWith('PATH='))
      ?.slice(5) ?? defaultPath;
  return path.split(':').map((folder) => `${folder}/${command}`);
}

/** The file system of an image: its layers stacked. */
class ImageFiles {
  #steps = 0;

  constructor(
    private readonly count: number,
    private readonly filesOf: FilesOf,
  ) {}

  /** Returns the program that runs when `path` is started, following links and interpreters, and its path. */
  async program(path: string): Promise<[string, Program] | undefined> {
    const real = await this.#real(path);
    const file = real === undefined ? undefined : await this.#lookUp(real);
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
    const inBin = new Map<string, number>();
    const elsewhere = new Map<string, number>();
    for (let layer = 0; layer < this.count; layer++) {
      for (const [path, file] of (await this.filesOf(layer)).files) {
        if (file.kind !== 'program' || file.elf.architecture === undefined || isEmulator(path)) continue;
        if (path === but || (await this.#lookUp(path)) !== file) continue;
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

  /** Returns the path with all links followed, also those of its folders; undefined where a link is circular. */
  async #real(path: string): Promise<string | undefined> {
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
      const file = await this.#lookUp(at);
      if (file?.kind !== 'link') {
        done.push(part);
        continue;
      }
      if (this.#steps++ > maxSteps) return undefined;
      if (file.isHard || file.target.startsWith('/')) done = [];
      rest = [...file.target.split('/'), ...rest];
    }
    return plainPath(done.join('/'));
  }

  async #lookUp(path: string): Promise<LayerFile | undefined> {
    for (let layer = this.count - 1; layer >= 0; layer--) {
      const { files, removed, opaque } = await this.filesOf(layer);
      const file = files.get(path);
      if (file !== undefined) return file;
      if (removed.has(path)) return undefined;
      for (let slash = path.lastIndexOf('/'); slash >= 0; slash = path.lastIndexOf('/', slash - 1)) {
        const folder = path.slice(0, slash);
        if (removed.has(folder) || opaque.has(folder)) return undefined;
        if (slash === 0) break;
      }
      if (opaque.has('')) return undefined;
    }
    return undefined;
  }
}

/** Returns the program that an image starts, and its path. If that is an emulator, returns the program it runs. */
async function started(
  files: ImageFiles,
  { words, placesOf }: Start,
): Promise<[path: string, program: Program] | undefined> {
  for (const [at, word] of words.slice(0, maxWords).entries()) {
    // An emulator's flags and their values follow it; only an absolute path is certainly a program.
    if (at > 0 && !word.startsWith('/')) continue;
    let emulates = isEmulator(word);
    for (const path of placesOf(word)) {
      const found = await files.program(path);
      if (found === undefined) continue;
      emulates ||= isEmulator(found[0]);
      if (!emulates) return found;
      break;
    }
    if (at === 0 && !emulates) return undefined;
  }
  return undefined;
}

/**
 * Finds the architectures of an image's programs: of the started one, else of all.
 * @param config the image's config
 * @param count number of layers
 * @param claimed the architecture that all claims agree on; undefined where they differ
 */
export async function programEvidence(
  config: Buffer,
  count: number,
  filesOf: FilesOf,
  claimed?: string,
): Promise<ProgramEvidence | undefined> {
  const files = new ImageFiles(count, filesOf);
  const [path, program] = (await started(files, startOf(config))) ?? [];
  const architecture = program?.elf.architecture;
  if (program === undefined) {
    const architectures = await files.architectures();
    return architectures.length === 0 ? undefined : { architectures, isStarted: false, variant: undefined };
  }
  if (architecture === undefined) return undefined;
  const { elf, read } = program;
  const isDoubtful = claimed !== undefined && !runsOn(claimed, architecture);
  const [others] = isDoubtful ? await files.architectures(path) : [];
  const variant = read === undefined ? undefined : await armVariant(elf, read).catch(() => undefined);
  return { architectures: [architecture], isStarted: true, others, variant };
}
