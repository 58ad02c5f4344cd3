import { isObject } from '../oci/descriptor.js';
import { parseJsonObject } from '../oci/manifest.js';
import { armVariant } from './elf.js';
import type { LayerFile, LayerFiles } from './layer-files.js';
import { plainPath } from './tar-members.js';

/** What an image's programs say they are made for. */
export interface ProgramEvidence {
  readonly architecture: string;
  /** The variant of 32-bit arm that they need, where that is noted in them. */
  readonly variant: string | undefined;
  /** The program that was looked at. */
  readonly path: string;
}

/** Gives the files of a layer by its place, 0 for the lowest. */
export type FilesOf = (layer: number) => Promise<LayerFiles>;

type Program = Extract<LayerFile, { kind: 'program' }>;

const maxSteps = 60;
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Emulators for other machines lie about in images that were built with them. */
const emulator = /(?:^|\/)qemu-[^/]+$/;

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** Where the program that an image starts may be, most likely first (OCI image-spec, config.md, `Entrypoint`, `Cmd`, `Env`). */
function startPaths(config: Buffer): string[] {
  const { config: run } = parseJsonObject(config, 'config');
  if (!isObject(run)) return [];
  const [command] = [...texts(run['Entrypoint']), ...texts(run['Cmd'])];
  if (command === undefined || command === '') return [];
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

  /** A program from a layer that has one, where nobody says which one is started. */
  async any(): Promise<[string, Program] | undefined> {
    let second: [string, Program] | undefined;
    for (let layer = 0; layer < this.count; layer++) {
      for (const [path, file] of (await this.filesOf(layer)).files) {
        if (file.kind !== 'program' || emulator.test(path)) continue;
        if (/(?:^|\/)s?bin\//.test(path)) return [path, file];
        second ??= [path, file];
      }
    }
    return second;
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

/**
 * What an image's programs are made for: the one it starts, else any.
 * @param config the image's config
 * @param count how many layers it has
 */
export async function programEvidence(
  config: Buffer,
  count: number,
  filesOf: FilesOf,
): Promise<ProgramEvidence | undefined> {
  const files = new ImageFiles(count, filesOf);
  let found: [string, Program] | undefined;
  for (const path of startPaths(config)) {
    found = await files.program(path);
    if (found !== undefined) break;
  }
  found ??= await files.any();
  if (found === undefined) return undefined;
  const [path, { elf, read }] = found;
  if (elf.architecture === undefined) return undefined;
  const variant = read === undefined ? undefined : await armVariant(elf, read).catch(() => undefined);
  return { architecture: elf.architecture, variant, path: `/${path}` };
}
