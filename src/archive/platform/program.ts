import { isObject } from '../../oci/descriptor.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { armVariant, isEmulator, runsOn } from './elf.js';
import type { LayerFile, LayerFiles } from './layer-files.js';
import { plainPath } from '../../tar/scan.js';

/** What an image's programs say they are made for. */
export interface ProgramEvidence {
  /** What the program is made for that the image starts; where that is not found, what all its programs are made for, most of them first. */
  readonly architectures: readonly string[];
  /** Whether that is the program that the image starts. */
  readonly isStarted: boolean;
  /** What most of the other programs are made for, where the one that is started does not run on the machine that all claims name. */
  readonly others?: string | undefined;
  /** The variant of 32-bit arm that the program that is started needs, where that is noted in it. */
  readonly variant: string | undefined;
}

/** Gives the files of a layer by its place, 0 for the lowest. */
export type FilesOf = (layer: number) => Promise<LayerFiles>;

type Program = Extract<LayerFile, { kind: 'program' }>;

const maxSteps = 60;
/** Words of a command that are looked at behind an emulator. */
const maxWords = 20;
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** What an image starts: its words (OCI image-spec, config.md, `Entrypoint`, `Cmd`), and where a word may be found. */
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

/** Where a command may be, most likely first (`Env`, `WorkingDir`). */
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

/** The files of an image: what its layers, one over the other, make. */
class ImageFiles {
  #steps = 0;

  constructor(
    private readonly count: number,
    private readonly filesOf: FilesOf,
  ) {}

  /** The program that starting `path` runs: links and interpreters followed. */
  async program(path: string): Promise<[string, Program] | undefined> {
    const real = await this.#real(path);
    const file = real === undefined ? undefined : await this.#lookUp(real);
    if (real === undefined || file === undefined) return undefined;
    if (file.kind === 'program') return [real, file];
    if (file.kind !== 'script' || this.#steps++ > maxSteps) return undefined;
    return file.interpreter.includes('/') ? this.program(file.interpreter) : this.#anywhere(file.interpreter);
  }

  /**
   * What the programs are made for that stand in the image: those in a `bin` folder, or all where there are none.
   * @param but the path of a program that does not count
   * @returns architectures, those of most programs first
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

  /** The path with all links followed, in its folders too; undefined where that leads nowhere. */
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

/** The program that an image starts, and its path. Behind an emulator it is the program that this one runs. */
async function started(
  files: ImageFiles,
  { words, placesOf }: Start,
): Promise<[path: string, program: Program] | undefined> {
  for (const [at, word] of words.slice(0, maxWords).entries()) {
    // Behind an emulator stand its flags and their values; only a path is a program for sure.
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
 * What an image's programs are made for: the one it starts, else all of them.
 * @param config the image's config
 * @param count how many layers it has
 * @param claimed the architecture that all claims name; undefined where they differ
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
