import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { createGzip } from 'node:zlib';
import { AirliftError, checkInterrupted, isMissingPath, messageOf } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { formatPlatform, parsePlatform, samePlatform, type Platform } from '../oci/platform.js';
import type { Reference } from '../oci/reference.js';
import { addApplication } from './executable.js';
import { readRuntime, type RuntimeSource } from './fetch-runtime.js';
import { readKitFiles } from './files.js';
import type { KitImageOptions } from './image.js';
import { launcherFor } from './launcher.js';
import { readmeFor, readmeHeading } from './readme.js';
import { readParts, type RuntimeParts } from './runtime-parts.js';
import { runtimes, type Runtime } from './runtimes.js';
import type { KitExecutable, KitSummary } from './summary.js';
import { KitWriter } from './writer.js';

export interface KitOptions extends RuntimeSource {
  /** The directory that receives `README-FIRST.txt` and the directory `airlift`. */
  readonly output: string;
  /** Platforms of the machines at the site. Default: all that have a runtime. */
  readonly platforms?: readonly Platform[] | undefined;
  /** Also write airlift as a container image for hosts that only run containers. */
  readonly image?: KitImageOptions | undefined;
  /** File names of the bundles in `output` that the instructions name. */
  readonly bundles?: readonly string[] | undefined;
}

/** `memLevel` of gzip: its shorter blocks fit programs better than those of the default, 8, and save 0.2 MB per executable. */
const gzipMemory = 6;

/** Names in the output directory. */
const kitName = 'airlift';
const readmeName = 'README-FIRST.txt';

/**
 * Returns the runtimes for platforms, in the order of `runtimes`.
 * @throws AirliftError `platform-missing` if there is none for one of them
 */
function runtimesFor(platforms: readonly Platform[] | undefined): readonly Runtime[] {
  if (platforms === undefined) return runtimes;
  const chosen = platforms.map((want) => {
    const found = runtimes.find(({ platform }) => samePlatform(want, parsePlatform(platform)));
    if (found !== undefined) return found;
    throw new AirliftError(
      'platform-missing',
      `build a kit: npm has no Node.js for this platform; got ${formatPlatform(want)}, want ${runtimes.map(({ platform }) => platform).join(' or ')}`,
      { hint: 'a kit needs only the platforms of the machines that run airlift, not those of all nodes' },
    );
  });
  return runtimes.filter((runtime) => chosen.includes(runtime));
}

/**
 * Fetches the parts of a kit into the cache, so that `buildKit` needs no network.
 * @throws AirliftError as `buildKit`
 */
export async function fetchKitParts(options: Omit<KitOptions, 'output' | 'bundles'>): Promise<void> {
  await readKitFiles();
  for (const runtime of runtimesFor(options.platforms)) await readRuntime(runtime, options);
}

/**
 * Writes a kit: airlift as one executable per platform, which needs nothing installed, a launcher, instructions and digests. The files of
 * an earlier kit are replaced. The same airlift makes the same executables on every system.
 * @throws AirliftError `platform-missing`; `unsupported` if this airlift cannot build kits; `exists` if other files have the names of the
 *   kit's; `not-found`, `digest-mismatch`, `size-mismatch` and errors of the download for parts; `io`, `no-space`, `interrupted`
 */
export async function buildKit(options: KitOptions): Promise<KitSummary> {
  const parts = async function* (): AsyncGenerator<RuntimeParts> {
    for (const runtime of chosen) yield await readParts(await readRuntime(runtime, options), runtime);
  };
  const chosen = runtimesFor(options.platforms);
  return writeKit(parts(), options);
}

/**
 * Writes a kit out of runtimes from anywhere.
 * @param parts read one after the other, because each is large
 * @throws AirliftError as `buildKit`
 */
export async function writeKit(
  parts: AsyncIterable<RuntimeParts>,
  options: Pick<KitOptions, 'output' | 'bundles' | 'image' | 'onEvent' | 'signal'>,
  // Level 9 takes 8 s instead of 3 s, and saves 0.2 MB.
  gzipLevel = 9,
): Promise<KitSummary> {
  const { output, signal, bundles = [] } = options;
  const files = await readKitFiles();
  const directory = join(output, kitName);
  const readmePath = join(output, readmeName);
  await refuseForeignReadme(readmePath, readmeHeading(files));
  const writer = new KitWriter(directory, signal);
  // Loaded only for images: `export --with-kit` needs no writer of archives.
  const image =
    options.image === undefined
      ? undefined
      : new (await import('./image.js')).KitImage(options.image, signal);
  const executables: KitExecutable[] = [];
  let images: string[] = [];
  try {
    await writer.start();
    for await (const { runtime, program, license } of parts) {
      checkInterrupted(signal, 'build a kit');
      const executable = addApplication(program, files.application);
      // First, because the base image may lack the platform.
      await image?.add(runtime.platform, executable);
      executables.push(await writeExecutable(writer, runtime, executable, gzipLevel));
      await writer.write(`LICENSES/node-${runtime.version}.txt`, [license]);
    }
    if (image !== undefined) {
      images = await image.write(directory, imageReference(files.version), options.onEvent);
      for (const name of images) await writer.adopt(name);
    }
  } finally {
    await image?.close();
  }
  await writer.write('LICENSES/airlift.txt', [files.licenses]);
  await writer.write('airlift', [launcherFor(files, executables)]);
  const sums = await writer.finish();
  const text = readmeFor(files, executables, { bundles, images });
  await writer.replaceBeside(readmePath, Buffer.from(text));
  return { directory, readme: readmePath, executables, images, sums };
}

/** The name of the image: one that no registry can have, because it is not pulled. */
function imageReference(version: string): Reference {
  return { registry: 'localhost', repository: 'airlift', tag: version };
}

/** Writes the executable of one platform. */
async function writeExecutable(
  writer: KitWriter,
  runtime: RuntimeParts['runtime'],
  parts: readonly Buffer[],
  gzipLevel: number,
): Promise<KitExecutable> {
  const { platform, package: name, version, integrity, program } = runtime;
  const file = `${platform.replaceAll('/', '-')}.gz`;
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  const compressedSize = await writer.write(
    file,
    parts,
    createGzip({ level: gzipLevel, memLevel: gzipMemory }),
  );
  return {
    platform,
    file,
    digest: `sha256:${hash.digest('hex')}` as Digest,
    size: parts.reduce((sum, { byteLength }) => sum + byteLength, 0),
    compressedSize,
    runtime: { package: name, version, integrity, program },
  };
}

/** @throws AirliftError `exists` if the file at `path` is not one that a kit wrote */
async function refuseForeignReadme(path: string, heading: string): Promise<void> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(heading.length), 0);
      if (buffer.toString('utf8', 0, bytesRead) === heading) return;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (isMissingPath(cause)) return;
    throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
  }
  throw new AirliftError('exists', `write ${path}: another file has this name`, {
    hint: 'move the file away, or choose another output directory',
  });
}
