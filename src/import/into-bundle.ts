import { openInputs, type HeldImage, type InputOptions, type Inputs } from '../merge/open-inputs.js';
import { writeBundle, type WriteBundleOptions, type WrittenBundle } from '../merge/write-bundle.js';
import { digestOf } from '../oci/digest.js';
import { formatReference } from '../oci/reference.js';

export interface BundleArchivesOptions extends InputOptions, WriteBundleOptions {}

/**
 * Returns the images that `bundleArchives` would write, without writing anything.
 * @throws AirliftError what opening and merging throw
 */
export async function archiveImages(options: InputOptions): Promise<HeldImage[]> {
  const inputs = await openInputs(options);
  try {
    return [...inputs.images].map(({ reference, root }) => ({
      image: formatReference(reference),
      digest: root.digest,
    }));
  } finally {
    await inputs.close();
  }
}

/** Returns a fingerprint of the images, independent of the order of the archives. */
function fingerprintOf({ images }: Inputs): string {
  const lines = [...images]
    .map(({ reference, root }) => `${formatReference(reference)} ${root.digest}`)
    .sort();
  return `${lines.length} images of archives (${digestOf(Buffer.from(lines.join('\n'))).slice(0, 19)}…)`;
}

/**
 * Writes the images of archives, merged by their names, to a bundle. After an interruption the partial bundle stays beside the
 * output, and the same call resumes it.
 * @throws AirliftError what opening, merging and writing throw; the output does not exist then
 */
export async function bundleArchives(options: BundleArchivesOptions): Promise<WrittenBundle> {
  const inputs = await openInputs(options);
  try {
    return await writeBundle(inputs, { fingerprint: fingerprintOf(inputs) }, options);
  } finally {
    await inputs.close();
  }
}
