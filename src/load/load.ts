import type { Writable } from 'node:stream';
import { encoderOf } from '../archive/compression/compress.js';
import { contentOf } from '../archive/write/entry-writer.js';
import { OciLayoutWriter } from '../archive/write/oci-layout-writer.js';
import { TarWriter } from '../archive/write/tar-writer.js';
import { AirliftError, systemCodeOf } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { diffIdsOf } from '../oci/manifest.js';
import { isImageConfig, isIndex } from '../oci/media-types.js';
import { formatPlatform, matchPlatform, type Platform } from '../oci/platform.js';
import { readContent, readManifest } from '../oci/read.js';
import { formatReference, type Reference } from '../oci/reference.js';
import type { OnEvent } from '../progress.js';
import { SaveJob } from '../save/job.js';
import { checkEach, checkPlatforms } from '../save/node-files.js';
import { addImageBlobs, nodeNames } from '../save/oci-layout.js';
import { saveImages, type SavedFile } from '../save/save.js';
import { openSaveSource, type SaveFromFiles, type SourceImage } from '../save/source.js';
import { distributionOf, imagesFolder } from './distributions.js';
import type { Engine, EngineName, EngineOptions, ImageToLoad, Presence } from './engine.js';
import { exists, machinePlatform, openEngines } from './open-engine.js';
import { permissionHint } from './program.js';

/** Options of `loadImages`. */
export interface LoadOptions extends EngineOptions {
  /** A bundle, or archives that are merged by the names of their images. */
  readonly from: SaveFromFiles;
  /** The platform to load. Default: the one of the engine's machine. */
  readonly platform?: Platform | undefined;
  /** Leave out images that lack the platform, instead of failing. Default false. */
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Images to load. Default: all. */
  readonly images?: readonly Reference[] | undefined;
  /** Write an archive to the directory that k3s, RKE2 or k0s imports. Default: only while its containerd does not run. */
  readonly toFolder?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
}

/** An image in an engine. */
export interface LoadedImage {
  readonly image: string;
  /** The digest of the manifest for the platform. */
  readonly digest: Digest;
  /** The engine, with kind the node. */
  readonly engine: string;
  /** `present`: the engine had the image before. */
  readonly outcome: 'loaded' | 'present';
}

/** Result of `loadImages`. */
export interface LoadSummary {
  readonly engine: EngineName;
  readonly platform: string;
  readonly images: readonly LoadedImage[];
  /** The archive in the directory that the distribution imports, if that is how the images were loaded. */
  readonly file?: SavedFile | undefined;
}

/** Returns the directory to write an archive to; undefined if the images go through the engine's program. */
async function directoryFor({
  engine,
  address,
  dataDir,
  toFolder,
}: LoadOptions): Promise<string | undefined> {
  const distribution = distributionOf(engine);
  if (distribution === undefined) {
    if (toFolder === true)
      throw new AirliftError('usage', `load into ${engine}: it imports no directory`, {
        hint: 'only k3s, rke2 and k0s do; leave out `toFolder`',
      });
    return undefined;
  }
  const isStopped = address === undefined && !(await exists(distribution.socket));
  return toFolder === true || isStopped ? imagesFolder(distribution, dataDir) : undefined;
}

function hasContent(presence: Presence): boolean {
  return presence === 'complete' || presence === 'unpinned';
}

/** Loads images for one platform, one after the other. */
class Loading {
  readonly #summary: LoadedImage[] = [];

  constructor(
    private readonly job: SaveJob,
    private readonly platform: Platform,
    private readonly engines: readonly Engine[],
  ) {}

  async run(): Promise<LoadedImage[]> {
    const images: ImageToLoad[] = [];
    for (const image of this.job.images()) {
      const described = await this.#describe(image);
      if (described !== undefined) images.push(described);
    }
    let position = 0;
    for (const engine of this.engines) {
      const wanted = images.filter((image) => this.#isWanted(engine, image));
      const before = await engine.list(wanted);
      this.#reportPlan(wanted, before);
      for (const image of wanted) {
        const presence = before(image);
        const isPresent = hasContent(presence);
        if (!isPresent) await this.#send(engine, image);
        if (presence !== 'complete') await engine.pin?.(image);
        const outcome = isPresent ? 'present' : 'loaded';
        this.job.done(image.name, image.manifest, ++position, outcome);
        const { digest } = image.manifest;
        this.#summary.push({ image: formatReference(image.name), digest, engine: engine.label, outcome });
      }
      await this.#check(engine, wanted);
    }
    if (this.#summary.length === 0)
      throw new AirliftError('input', `load: no image to load for ${formatPlatform(this.platform)}`);
    return this.#summary;
  }

  /** Reports how much there is to send. Several nodes get the same blobs, which progress counts once, so there is no total for them. */
  #reportPlan(images: readonly ImageToLoad[], before: (image: ImageToLoad) => Presence): void {
    if (this.engines.length > 1) return;
    const missing = images.filter((image) => !hasContent(before(image)));
    const blobs = new Map<Digest, number>();
    for (const { config, layers } of missing)
      for (const { digest, size } of [config, ...layers]) blobs.set(digest, size);
    const bytes = [...blobs.values()].reduce((sum, size) => sum + size, 0);
    this.job.planned({ images: images.length, blobs: blobs.size, bytes });
  }

  /** Describes the image for the platform; undefined if there is none. */
  async #describe(image: SourceImage): Promise<ImageToLoad | undefined> {
    this.job.checkInterrupted();
    const { source } = this.job;
    const { reference, root, original } = image;
    const images = await this.job.runnable(image);
    const [found] = matchPlatform(this.platform, images);
    const name = formatReference(reference);
    if (found === undefined) {
      const why = images.length > 0 ? `no ${formatPlatform(this.platform)}` : 'not a runnable image';
      this.job.warn(`${name} left out: ${why}`);
      return undefined;
    }
    const { manifest } = await readManifest(source, reference, found);
    const config = manifest.kind === 'manifest' ? manifest.config : undefined;
    if (manifest.kind !== 'manifest' || config === undefined || !isImageConfig(config.mediaType)) {
      this.job.warn(`${name} left out: not a runnable image`);
      return undefined;
    }
    const [first = reference, ...pinned] = nodeNames(image);
    return {
      name: first,
      pinned,
      manifest: found,
      config,
      diffIds: diffIdsOf(await readContent(source, reference, config), `config of ${name}`),
      layers: manifest.layers,
      index: await this.#indexOf(reference, original ?? root, found),
    };
  }

  /** Returns the root if it is an index that names the manifest itself. */
  async #indexOf(reference: Reference, root: Descriptor, found: Descriptor): Promise<Descriptor | undefined> {
    if (!isIndex(root.mediaType)) return undefined;
    const { manifest } = await readManifest(this.job.source, reference, root);
    const children = manifest.kind === 'index' ? manifest.manifests : [];
    return children.some(({ digest }) => digest === found.digest) ? root : undefined;
  }

  #isWanted(engine: Engine, image: ImageToLoad): boolean {
    if (engine.entriesOf(image, this.platform).length > 0) return true;
    this.job.warn(`${formatReference(image.name)} left out: ${engine.label} keeps no image without a tag`);
    return false;
  }

  async #send(engine: Engine, image: ImageToLoad): Promise<void> {
    this.job.checkInterrupted();
    await engine.send(this.platform, (to) => this.#write(engine, image, to));
  }

  /** Writes an OCI layout with `manifest.json`, which every release of the engines reads. The files that name the image come last. */
  async #write(engine: Engine, image: ImageToLoad, stream: Writable): Promise<void> {
    const to = TarWriter.to(stream, encoderOf('none', {}));
    try {
      const writer = await OciLayoutWriter.begin(to);
      const { source } = this.job;
      const blobs = await addImageBlobs(this.job, writer, image.name, image.manifest);
      const entries = engine.entriesOf(image, this.platform);
      for (const { name, target } of entries) {
        if (!writer.has(target.digest)) {
          const { bytes } = await readManifest(source, image.name, target);
          await writer.addBlob(target, contentOf(bytes));
        }
        writer.addImage(name, target);
      }
      if (blobs !== undefined && image.name.tag !== undefined)
        writer.addSaved(image.name, blobs.config, blobs.layers);
      await writer.end();
      await to.finish();
    } catch (error) {
      await to.discard();
      throw error;
    }
  }

  /** Asks the engine for the images again: the exit code of a program proves little. */
  async #check(engine: Engine, images: readonly ImageToLoad[]): Promise<void> {
    const after = await engine.list(images);
    const lost = images.filter((image) => after(image) === 'absent');
    const names = lost.map(({ name }) => formatReference(name));
    if (names.length > 0) {
      throw new AirliftError(
        'engine',
        `load into ${engine.label}: the engine does not hold every image in full`,
        {
          lines: names,
          hint: 'run the same command again: it loads only what is missing',
        },
      );
    }
    for (const image of images.filter((each) => after(each) === 'by-tag')) {
      const { digest } = image.index ?? image.manifest;
      this.job.warn(
        `${formatReference(image.name)}: ${engine.label} does not find it by its digest ${digest}`,
      );
    }
  }
}

/** Writes the images as an archive to the directory that a distribution imports. */
async function loadFolder(options: LoadOptions, platform: Platform, directory: string): Promise<LoadSummary> {
  const { engine, from, images, skipMissingPlatforms, onEvent, signal } = options;
  const loaded: LoadedImage[] = [];
  try {
    const { files } = await saveImages({
      from,
      format: 'k3s',
      output: `${directory}/`,
      platforms: [platform],
      compression: distributionOf(engine)?.compression,
      force: true,
      images,
      skipMissingPlatforms,
      doing: 'load',
      signal,
      onEvent: (event) => {
        if (event.event === 'image-done')
          loaded.push({ image: event.image, digest: event.digest, engine, outcome: 'loaded' });
        onEvent?.(event);
      },
    });
    return { engine, platform: formatPlatform(platform), images: loaded, file: files[0] };
  } catch (error) {
    if (!(error instanceof AirliftError) || !['EACCES', 'EPERM'].includes(systemCodeOf(error.cause) ?? ''))
      throw error;
    throw new AirliftError('engine', error.message, { hint: permissionHint, cause: error });
  }
}

/** Sends the images to the engine that runs, or to each node of a kind cluster. */
async function loadEngines(options: LoadOptions): Promise<LoadSummary> {
  const { engine, from, images, skipMissingPlatforms, onEvent, signal } = options;
  // A missing engine is reported before a large archive is read.
  const engines = await openEngines(options);
  const platform = options.platform ?? engines[0]?.platform ?? machinePlatform();
  const source = await openSaveSource(from, { onEvent, signal });
  try {
    const job = new SaveJob(source, { images, namesWithDigests: false, doing: 'load', onEvent, signal });
    if (skipMissingPlatforms === true) await checkPlatforms(job, [platform]);
    else await checkEach(job, [platform]);
    const loaded = await new Loading(job, platform, engines).run();
    return { engine, platform: formatPlatform(platform), images: loaded };
  } catch (error) {
    throw (await source.explain?.(error)) ?? error;
  } finally {
    await source.close();
  }
}

/**
 * Loads images of a bundle or of archives into a container engine. What the engine has already is not sent again. An engine names an image
 * only when it has all of its content, so that a run that is killed leaves no half image, and the next one continues.
 * @throws AirliftError `engine` if the engine is missing, refuses access or fails; `platform-missing`, `not-found`, `input`, `damaged`;
 *   errors of reading
 */
export async function loadImages(options: LoadOptions): Promise<LoadSummary> {
  const directory = await directoryFor(options);
  if (directory === undefined) return loadEngines(options);
  return loadFolder(options, options.platform ?? machinePlatform(), directory);
}
