import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import type { BundlePart, PartsOptions, WrittenPart } from '../index.js';
import { count, formatBytes, formatTable } from './format.js';
import { printLine, printLines } from './print.js';
import { parseVolumeSize } from './quantities.js';
import { rejectUnused } from './unused-flags.js';

/** Flags of the commands that divide a bundle by its images. */
export const partFlags = {
  'split-by': {
    choices: ['image'] as const,
    describe: 'write bundles that hold some of the images each, at most --part-size',
  },
  'part-size': {
    type: 'string',
    requiresArg: true,
    describe: 'most bytes of a part: 2G (powers of 1024), fat32 or bytes',
  },
  'whole-parts': {
    type: 'boolean',
    default: false,
    describe: 'each part has all of its layers; otherwise parts are imported in order',
  },
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof partFlags>> & {
  readonly volumeSize?: string | undefined;
};

/**
 * Returns how to divide the images; undefined if the flags do not ask for it.
 * @throws AirliftError `usage`
 */
export function partsOf(command: string, args: Arguments): PartsOptions | undefined {
  const { splitBy, partSize, wholeParts, volumeSize } = args;
  const example = '--split-by image --part-size 2G';
  if (splitBy === undefined) {
    rejectUnused(args, partFlags, ['part-size', 'whole-parts'], {
      when: command,
      problem: 'needs --split-by image',
      hint: example,
    });
    return undefined;
  }
  if (partSize === undefined)
    throw new AirliftError('usage', `${command}: --split-by image needs --part-size`, { hint: example });
  if (volumeSize !== undefined)
    throw new AirliftError('usage', `${command}: got --split-by image and --volume-size, want one of them`, {
      hint: 'parts are bundles of their own, volumes are pieces of one',
    });
  return { partSize: parseVolumeSize('part-size', partSize), wholeParts };
}

/** Formats the place of a bundle in a set of parts. */
export function describePart({ number, count: of, needs }: BundlePart): string {
  const order = needs.length === 0 ? 'complete' : `import part ${needs.join(' and part ')} before it`;
  return `part ${number} of ${of}: ${order}`;
}

/** Prints the parts, in the order in which the site imports them. */
export function printParts(parts: readonly WrittenPart[], done: string): void {
  const rows = parts.map(({ path, size, images, needs, leftOut, isKept }) => [
    path,
    formatBytes(size),
    count(images, 'image'),
    needs.length === 0 ? 'all' : `${count(leftOut.blobs, 'layer')} in part ${needs.join(', ')}`,
    isKept ? 'kept' : '',
  ]);
  printLines(formatTable(['part', 'size', 'images', 'layers', ''], rows, [1]));
  printLine(done);
  for (const { path, sums } of parts) printLine(`SHA256SUMS digest of ${path}: ${sums}`);
  printLine('send these digests to the site separately from the parts: airlift verify prints them there');
  const isOrdered = parts.some(({ needs }) => needs.length > 0);
  if (isOrdered) printLine('import the parts in this order: each needs the layers of the earlier ones');
  printLine(
    `next: at the site, airlift import ${parts[0]?.path ?? ''} --to HOST[:PORT], then the other parts`,
  );
}
