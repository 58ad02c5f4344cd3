import { openChecked } from '../bundle/verify/check-front.js';
import { writeParts, type PartsOptions, type WrittenParts } from '../parts/write-parts.js';
import type { OnEvent } from '../progress.js';
import { bundleName, pathIn } from './split.js';

export interface SplitByImageOptions extends PartsOptions {
  /** Directory for the parts, or the path of the bundle that they are named after. */
  readonly output: string;
  /** Directories that hold volumes of the bundle, if it is split into volumes. */
  readonly volumeDirs?: readonly string[] | undefined;
  /** Replace existing files of the parts' names. */
  readonly force?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Divides the images of a bundle into parts: bundles of a limited size, each with some of the images. After an interruption the same call
 * resumes.
 * @throws AirliftError as `import` for the bundle; `usage` if an image does not fit a part; `exists`, `no-space`, `io`, `interrupted`
 */
export async function splitByImage(path: string, options: SplitByImageOptions): Promise<WrittenParts> {
  const { volumeDirs = [], signal } = options;
  const output = await pathIn(options.output, bundleName(path));
  const reader = await openChecked({ path, volumeDirs }, { signal });
  try {
    return await writeParts(reader, { ...options, output });
  } finally {
    await reader.close();
  }
}
