import { basename, join } from 'node:path';
import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { parsePlatform, type ArchiveOptions, type Platform } from '../index.js';
import { showDashes } from './stdin-dash.js';
import { volumeDirFlag } from './flags.js';
import { cacheFolder } from './environment.js';
import { prepareForCatalog } from './heap.js';
import { printNote } from './print.js';

/** Flags of the commands that read archives of images. */
export const archiveFlags = {
  ...volumeDirFlag,
  arch: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'platform of the images in an archive, overrides theirs: FILE=linux/arm/v7',
  },
  name: {
    type: 'string',
    requiresArg: true,
    describe: 'name for images that have none in their archive',
  },
  'merge-names': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'merge images whose names differ in {arch}: *:{tag}-{arch}=*:{tag}, or auto',
  },
  'strict-platforms': {
    type: 'boolean',
    default: false,
    describe: 'fail if an image gives contradictory platforms',
  },
  'layer-compression': {
    choices: ['gzip', 'zstd', 'none'] as const,
    default: 'gzip' as const,
    describe: 'compression for layers that are uncompressed in the archive',
  },
  'manifest-format': {
    choices: ['oci', 'docker'] as const,
    default: 'oci' as const,
    describe: 'format of manifests created for images without one',
  },
  'require-signature': {
    type: 'string',
    requiresArg: true,
    describe: 'public key, or directory of them, of which one must have signed the bundle',
  },
  'tmp-dir': {
    type: 'string',
    requiresArg: true,
    defaultDescription: 'system temporary directory',
    describe: 'directory to unpack compressed archives in',
  },
} as const satisfies Record<string, Options>;

export type ArchiveArguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof archiveFlags> & { inputs: string[] }
>;

/** Returns the inputs that the FILE of `--arch` matches: by whole path, else by base name. */
function matchingInputs(name: string, inputs: readonly string[]): string[] {
  if (inputs.includes(name)) return [name];
  return inputs.filter((input) => basename(input) === name);
}

/** Maps inputs to the platforms that `--arch` gives them. */
function platformsByInput(values: readonly string[], inputs: readonly string[]): Map<string, Platform> {
  const platforms = new Map<string, Platform>();
  for (const text of values) {
    const equals = text.lastIndexOf('=');
    const platform = parsePlatform(text.slice(equals + 1));
    const matches = equals < 0 ? inputs : matchingInputs(text.slice(0, equals), inputs);
    const [input, ...others] = matches;
    if (input === undefined || others.length > 0) {
      throw new AirliftError('usage', `--arch ${text}: got ${matches.length} matching inputs, want one`, {
        hint: `--arch ${inputs[0] ?? 'FILE'}=linux/arm64`,
      });
    }
    platforms.set(input, platform);
  }
  return platforms;
}

/** Returns the file that caches digests of compressed layers; warns if there is no home directory for it. */
function layerMemoryOf(env: NodeJS.ProcessEnv): string | undefined {
  const folder = cacheFolder(env);
  if (folder !== undefined) return join(folder, 'layers');
  printNote(
    'warning: no home directory: digests of compressed layers are not cached (HOME is not an absolute path)',
  );
  return undefined;
}

/** Returns the inputs and archive options that flags and environment give. */
export function inputsOf(args: ArchiveArguments): { inputs: string[]; archives: ArchiveOptions } {
  const inputs = showDashes(args.inputs);
  const archives = {
    platforms: platformsByInput(args.arch ?? [], inputs),
    name: args.name,
    mergeNames: args.mergeNames,
    strictPlatforms: args.strictPlatforms,
    layerCompression: args.layerCompression,
    manifestFormat: args.manifestFormat,
    requireSignature: args.requireSignature,
    tmpDir: args.tmpDir,
    volumeDirs: args.volumeDir,
    onCatalogSize: prepareForCatalog,
    layerMemory: layerMemoryOf(process.env),
    stdin: process.stdin,
  };
  return { inputs, archives };
}
