import { maxDepth, refuseDepth } from './choose-platforms.js';
import type { Descriptor } from '../oci/descriptor.js';
import { describedBy } from '../oci/filter.js';
import { platformOfConfig } from '../oci/manifest.js';
import { isIndex, isManifest } from '../oci/media-types.js';
import { isUnknown, type Platform } from '../oci/platform.js';
import { readContent, readManifest } from '../oci/read.js';
import { mayRun } from '../oci/runnable.js';
import type { Reference } from '../oci/reference.js';
import type { Source } from '../oci/source.js';

/** The manifest of an image that a machine can run, and its platform. */
export interface RunnableImage extends Descriptor {
  readonly platform: Platform;
}

async function platformOf(
  source: Source,
  reference: Reference,
  descriptor: Descriptor,
): Promise<Platform | undefined> {
  if (descriptor.platform !== undefined) return descriptor.platform;
  const { manifest } = await readManifest(source, reference, descriptor);
  if (manifest.kind === 'index' || manifest.config === undefined || !mayRun(manifest)) return undefined;
  const { config } = manifest;
  return platformOfConfig(await readContent(source, reference, config), `config of ${descriptor.digest}`);
}

/** Returns the runnable images at or below a root, in the order of its indexes, without attestations and artifacts. */
export async function runnableImages(
  source: Source,
  reference: Reference,
  root: Descriptor,
): Promise<RunnableImage[]> {
  const found: RunnableImage[] = [];
  const visit = async (descriptor: Descriptor, depth: number): Promise<void> => {
    if (depth > maxDepth) refuseDepth(descriptor);
    if (isIndex(descriptor.mediaType)) {
      const { manifest } = await readManifest(source, reference, descriptor);
      if (manifest.kind === 'index') for (const child of manifest.manifests) await visit(child, depth + 1);
      return;
    }
    const isRunnable = isManifest(descriptor.mediaType) && describedBy(descriptor) === undefined;
    const platform = isRunnable ? await platformOf(source, reference, descriptor) : undefined;
    if (platform !== undefined && !isUnknown(platform)) found.push({ ...descriptor, platform });
  };
  await visit(root, 0);
  return found;
}
