import { isObject } from '../../oci/descriptor.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { armVariant, isEmulator, runsOn } from './elf.js';
import { defaultPath, ImageFiles, type FilesOf, type Program } from './image-files.js';

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

/** The most words of a command that are searched for the program behind an emulator. */
const maxWords = 20;

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
