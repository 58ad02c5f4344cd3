import { DockerArchiveWriter } from '../archive/write/docker-archive-writer.js';
import type { EntryWriter } from '../archive/write/entry-writer.js';
import { AirliftError } from '../errors.js';
import { isImageConfig } from '../oci/media-types.js';
import { formatPlatform, matchPlatform, type Platform } from '../oci/platform.js';
import { readContent, readManifest } from '../oci/read.js';
import { formatReference } from '../oci/reference.js';
import type { RunnableImage } from '../plan/runnable-images.js';
import type { SaveJob } from './job.js';

export interface SaveDockerOptions {
  /** The platform to save; optional if every image has only one. */
  readonly platform?: Platform | undefined;
  /** Leave out images that lack the platform. */
  readonly skipMissingPlatforms?: boolean | undefined;
  readonly tmpDir?: string | undefined;
}

/** Chooses the image to save among those for several platforms. */
function chosen(
  name: string,
  images: readonly RunnableImage[],
  platform: Platform | undefined,
): RunnableImage | undefined {
  if (platform !== undefined) return matchPlatform(platform, images)[0];
  const [first, ...others] = images;
  if (others.length === 0) return first;
  const list = images.map((image) => formatPlatform(image.platform)).join(', ');
  throw new AirliftError(
    'usage',
    `save ${name}: a docker-archive holds one platform of an image; got ${list}`,
    { hint: 'choose one with `platforms`' },
  );
}

function missing(name: string, images: readonly RunnableImage[], platform: Platform): AirliftError {
  const list = images.map((image) => formatPlatform(image.platform)).join(', ');
  return new AirliftError(
    'platform-missing',
    `save ${name}: platform missing; got ${list}, want ${formatPlatform(platform)}`,
    { hint: '`skipMissingPlatforms` saves the other images' },
  );
}

/**
 * Writes images in the format of `docker save`.
 * @returns the number of images written
 */
export async function saveDockerArchive(
  job: SaveJob,
  to: EntryWriter,
  { platform, skipMissingPlatforms, tmpDir }: SaveDockerOptions,
): Promise<number> {
  const writer = new DockerArchiveWriter(to, tmpDir);
  let written = 0;
  for (const image of job.images()) {
    job.checkInterrupted();
    const { reference } = image;
    const name = formatReference(reference);
    const images = await job.runnable(image);
    const found = chosen(name, images, platform);
    if (found === undefined) {
      const isArtifact = images.length === 0 || platform === undefined;
      if (!isArtifact && skipMissingPlatforms !== true) throw missing(name, images, platform);
      job.warn(`${name} left out: ${isArtifact ? 'not a runnable image' : `no ${formatPlatform(platform)}`}`);
      continue;
    }
    const { manifest } = await readManifest(job.source, reference, found);
    const config = manifest.kind === 'manifest' ? manifest.config : undefined;
    if (manifest.kind !== 'manifest' || config === undefined || !isImageConfig(config.mediaType)) {
      job.warn(`${name} left out: not a runnable image`);
      continue;
    }
    const newName = job.names.nameOf(reference);
    await writer.addImage({
      reference: newName,
      config: await readContent(job.source, reference, config),
      layers: manifest.layers.map((descriptor) => ({
        descriptor,
        open: () => Promise.resolve(job.content(reference, descriptor)),
      })),
    });
    job.done(newName, found, ++written);
  }
  await writer.end();
  return written;
}
