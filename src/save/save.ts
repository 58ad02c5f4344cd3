import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import type { HeldImage } from '../merge/open-inputs.js';
import { encoderOf } from '../archive/compression/compress.js';
import type { Compression } from '../archive/compression/decompress.js';
import { DirectoryWriter } from '../archive/write/directory-writer.js';
import type { EntryWriter } from '../archive/write/entry-writer.js';
import { TarWriter } from '../archive/write/tar-writer.js';
import { makeDirectory as makePath, refuseDirectory } from '../io/directories.js';
import { AirliftError, messageOf, systemCodeOf } from '../errors.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import { formatReference } from '../oci/reference.js';
import { saveDockerArchive } from './docker-archive.js';
import { SaveJob, type SaveJobOptions } from './job.js';
import { checkEach, checkPlatforms, nodePlatforms, platformsByName } from './node-files.js';
import { saveForNode, saveOciLayout } from './oci-layout.js';
import { openSaveSource, type SaveFrom, type SaveSource } from './source.js';

/** File formats that `saveImages` writes; `k3s` writes one archive for each platform. */
export type SaveFormat = 'docker-archive' | 'oci-archive' | 'oci-layout' | 'k3s';

/** Options of `saveImages` and `imagesToSave`. */
export interface SaveOptions extends SaveJobOptions {
  readonly from: SaveFrom;
  readonly format: SaveFormat;
  /**
   * Path of the file to write, or of the directory with `oci-layout`; `-` writes to `stdout`. With `k3s`, a directory, or the prefix of
   * the file names.
   */
  readonly output: string;
  /** The stream that `-` writes to. */
  readonly stdout?: Writable | undefined;
  /** Platforms to save. Default: all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** Leave out platforms that an image lacks, instead of failing. Default false. */
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Compression of the files. Default: `zstd` for `k3s`, `none` for the other formats. */
  readonly compression?: Compression | undefined;
  /** Compression level, 1 (fastest) to 9 (smallest). */
  readonly level?: number | undefined;
  /** Directory for temporary files. Default: beside `output` for layers, the system's for unpacked archives. */
  readonly tmpDir?: string | undefined;
  /** Replace existing files. Default false. */
  readonly force?: boolean | undefined;
}

/** A written file or directory. */
export interface SavedFile {
  readonly path: string;
  /** Size in bytes; for a directory, the sum of its files. */
  readonly size: number;
  readonly images: number;
  /** The platform of the images, if the file is for one platform. */
  readonly platform?: string | undefined;
}

/** Result of `saveImages`. */
export interface SaveSummary {
  readonly format: SaveFormat;
  readonly files: readonly SavedFile[];
}

const extensions = { none: '', gzip: '.gz', zstd: '.zst' } as const;

/** Returns the kind of file at a path; undefined if there is none. */
async function kindOf(path: string): Promise<'directory' | 'other' | undefined> {
  try {
    return (await stat(path)).isDirectory() ? 'directory' : 'other';
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw new AirliftError('io', `write ${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await makePath(path);
  } catch (cause) {
    throw new AirliftError('io', `make directory ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** @throws AirliftError `exists` if the path exists and must not be replaced */
async function checkFree(path: string, options: SaveOptions): Promise<void> {
  const kind = await kindOf(path);
  const isReplaced = options.force === true && kind === 'other' && options.format !== 'oci-layout';
  if (kind === undefined || isReplaced) return;
  if (options.format !== 'oci-layout') await refuseDirectory(path, '`output`', 'images.tar');
  throw new AirliftError('exists', `write ${path}: it already exists`, {
    hint: kind === 'other' && options.format !== 'oci-layout' ? '`force` replaces it' : 'remove it first',
  });
}

/** Writes one file (or directory) with `work`, completely or not at all. */
async function write(
  path: string,
  job: SaveJob,
  options: SaveOptions,
  work: (to: EntryWriter) => Promise<number>,
): Promise<SavedFile> {
  const { format, stdout, compression = format === 'k3s' ? 'zstd' : 'none' } = options;
  // Layers for nodes are compressed already: a higher level takes time and saves nothing.
  const { level = format === 'k3s' ? 1 : undefined } = options;
  const encode = encoderOf(compression, { level });
  const open = (): Promise<EntryWriter> => {
    if (format === 'oci-layout') return DirectoryWriter.create(path);
    if (path === '-' && stdout !== undefined) return Promise.resolve(TarWriter.to(stdout, encode));
    return TarWriter.create(path, encode);
  };
  const to = await open();
  try {
    const images = await work(to);
    if (images === 0) throw new AirliftError('input', `${job.doing} ${path}: no image to ${job.doing}`);
    return { path, size: await to.finish(), images };
  } catch (error) {
    await to.discard();
    job.checkInterrupted();
    throw error;
  }
}

async function saveDocker(job: SaveJob, options: SaveOptions): Promise<SavedFile[]> {
  const { platforms = [], output, skipMissingPlatforms } = options;
  const [platform, ...others] = platforms;
  if (others.length > 0) {
    throw new AirliftError(
      'usage',
      `save ${output}: a docker-archive holds one platform; got ${platforms.map(formatPlatform).join(', ')}`,
    );
  }
  const tmpDir = options.tmpDir ?? (output === '-' ? undefined : dirname(output));
  const work = (to: EntryWriter): Promise<number> =>
    saveDockerArchive(job, to, { platform, skipMissingPlatforms, tmpDir });
  return [{ ...(await write(output, job, options, work)), platform: platform && formatPlatform(platform) }];
}

/** Returns the prefix for the names of node files: `out/NAME` for both `out/` and `out/NAME`. */
async function prefixOf({ output, from }: SaveOptions): Promise<string> {
  const isDirectory = output.endsWith('/') || (await kindOf(output)) === 'directory';
  if (!isDirectory) return output;
  const [file] = 'files' in from ? from.files : [];
  const [reference] = 'references' in from ? from.references : [];
  const name = file ?? (reference === undefined ? '' : formatReference(reference).replace(/^.*\//, ''));
  const plain = basename(name)
    .replace(/(\.(tar|tgz|gz|zst|bundle))+$/i, '')
    .replace(/[^\w.-]+/g, '-');
  return join(output, plain === '' || plain === '-' ? 'airlift' : plain);
}

async function saveNodes(job: SaveJob, options: SaveOptions): Promise<SavedFile[]> {
  const { compression = 'zstd', skipMissingPlatforms } = options;
  const { platforms = await nodePlatforms(job) } = options;
  if (options.platforms !== undefined && skipMissingPlatforms !== true) await checkEach(job, platforms);
  const prefix = await prefixOf(options);
  const files = [...platformsByName(platforms)].map(([name, platform]) => ({
    platform,
    path: `${prefix}-images-${name}.tar${extensions[compression]}`,
  }));
  for (const { path } of files) await checkFree(path, options);
  await makeDirectory(dirname(prefix));
  const saved: SavedFile[] = [];
  for (const { platform, path } of files) {
    const name = formatPlatform(platform);
    const file = await write(path, job, options, (to) =>
      saveForNode(job, to, platform, ({ reference }, images) =>
        job.warn(
          `${formatReference(reference)} left out of ${basename(path)}: ${images.length > 0 ? `no ${name}` : 'not a runnable image'}`,
        ),
      ),
    );
    saved.push({ ...file, platform: name });
  }
  return saved;
}

async function saveAll(job: SaveJob, options: SaveOptions): Promise<SavedFile[]> {
  const { format, output, platforms, skipMissingPlatforms } = options;
  // In the other cases, saving fails at the first image without the platform, before it writes anything.
  if (platforms !== undefined && (format === 'k3s' || skipMissingPlatforms === true))
    await checkPlatforms(job, platforms);
  if (format === 'k3s') return saveNodes(job, options);
  if (output !== '-') await checkFree(output, options);
  if (format === 'docker-archive') return saveDocker(job, options);
  return [await write(output, job, options, (to) => saveOciLayout(job, to, options))];
}

/** Returns the source with the archive options that suit the format. */
function sourceFor({ from, format, tags, tmpDir }: SaveOptions): SaveFrom {
  if (!('files' in from)) return from;
  const name = tags?.find((tag) => !tag.includes('='));
  const archives = { tmpDir, ...from.archives, name: from.archives?.name ?? name };
  // A docker-archive holds uncompressed layers.
  return {
    ...from,
    archives: format === 'docker-archive' ? { ...archives, layerCompression: 'none' } : archives,
  };
}

/**
 * Lists the images that `saveImages` would save, with their new names. Writes nothing.
 * @throws AirliftError `input` or `damaged` for a source that cannot be read; `usage`, `not-found` or `conflict` for wrong names; errors of
 *   the registry
 */
export async function imagesToSave(options: SaveOptions): Promise<HeldImage[]> {
  const source = await openSaveSource(sourceFor(options), options);
  try {
    const job = jobOf(source, options);
    return [...job.images()].map(({ reference, root }) => ({
      image: formatReference(job.names.nameOf(reference)),
      digest: root.digest,
    }));
  } finally {
    await source.close();
  }
}

function jobOf(source: SaveSource, options: SaveOptions): SaveJob {
  const namesWithDigests = options.format !== 'docker-archive' && options.format !== 'k3s';
  return new SaveJob(source, { ...options, namesWithDigests });
}

/**
 * Writes images of a bundle, of archives or of registries to files that other tools load. A file gets its name when it is complete.
 * @throws AirliftError `exists` if the output exists; `usage`, `platform-missing`, `not-found`, `conflict`; errors of reading and
 *   writing
 */
export async function saveImages(options: SaveOptions): Promise<SaveSummary> {
  const { format, output, stdout, level, compression = 'none' } = options;
  encoderOf(compression, { level });
  if (output === '-' && (stdout === undefined || format === 'oci-layout' || format === 'k3s'))
    throw new AirliftError('usage', `save: ${format} cannot be written to standard output`);
  const source = await openSaveSource(sourceFor(options), options);
  try {
    return { format, files: await saveAll(jobOf(source, options), options) };
  } catch (error) {
    throw (await source.explain?.(error)) ?? error;
  } finally {
    await source.close();
  }
}
