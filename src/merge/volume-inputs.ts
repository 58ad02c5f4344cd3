/** Inputs that are volumes of a bundle. */
import { dirname, join } from 'node:path';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import { findVolumes, volumeNumberOf } from '../bundle/format/volumes/find.js';
import { AirliftError } from '../errors.js';

/** Returns the first input if all inputs are volumes of one bundle, as `site.tar.0*` names them in a shell; else all inputs. */
export function oneOfVolumes(inputs: readonly string[]): readonly string[] {
  const names = new Set(inputs.map((path) => volumeNumberOf(path)?.bundle.replace(/^.*[/\\]/, '') ?? ''));
  const [name] = names;
  return names.size === 1 && name !== '' ? inputs.slice(0, 1) : inputs;
}

/** Returns the directories that hold volumes of the first input, besides its own: `volumeDirs`, and where the other inputs lie. */
export function directoriesOf(
  inputs: readonly string[],
  volumeDirs: readonly string[] = [],
): readonly string[] {
  return [...inputs.slice(1).map(dirname), ...volumeDirs];
}

/** Returns the place of a single input: its volumes may lie in `volumeDirs`, or where the other inputs lie. */
export function inputPlace(
  inputs: readonly string[],
  path: string,
  volumeDirs?: readonly string[],
): BundlePlace {
  const directories = directoriesOf(inputs, volumeDirs);
  return directories.length === 0 ? path : { path, volumeDirs: directories };
}

/**
 * Rejects a bundle in volumes where it would be read as an archive, to merge it with other inputs.
 * @throws AirliftError `unsupported`
 */
export async function refuseVolumes(path: string): Promise<void> {
  const volumes = await findVolumes(path);
  if (volumes === undefined) return;
  throw new AirliftError(
    'unsupported',
    `open ${path}: a bundle in volumes cannot be merged with other inputs`,
    {
      hint: `join it first: airlift join ${path} -o ${join(dirname(path), volumes.name)}`,
    },
  );
}

/** Returns the paths of all files that the inputs are read from. */
export async function filesOf(inputs: readonly string[], volumeDirs?: readonly string[]): Promise<string[]> {
  const [first, ...others] = oneOfVolumes(inputs);
  if (first === undefined || others.length > 0) return [...inputs];
  const found = await findVolumes(first, directoriesOf(inputs, volumeDirs));
  return found === undefined ? [...inputs] : found.volumes.flatMap(({ path }) => path ?? []);
}
