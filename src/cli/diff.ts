import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { diff, type BundleDifference, type ImageChange } from '../index.js';
import type { CommandHead } from './command-names.js';
import { jsonFlag, volumeDirFlag } from './flags.js';
import { count, formatBytes, formatTable } from './format.js';
import { interruptible } from './interrupt.js';
import { nameFlags } from './name-flags.js';
import { namingOf } from './names.js';
import { printJson, printLine, printLines } from './print.js';
import { rejectUnused } from './unused-flags.js';

const { 'keep-registry': keepRegistry, rename, 'rename-map': renameMap } = nameFlags;

const flags = {
  'keep-registry': keepRegistry,
  rename,
  'rename-map': renameMap,
  ...volumeDirFlag,
  ...jsonFlag,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { from: string; to: string }>;

function rowOf({ change, image, from, to, size, newBytes }: ImageChange): string[] {
  const digests = [from, to].map((digest) => digest?.slice(0, 19) ?? '-');
  const bytes = [size, newBytes].map((value) => (value === undefined ? '-' : formatBytes(value)));
  return [change, image, ...digests, ...bytes];
}

function printDifference({ changes, unchanged, newBlobs, isUpperBound }: BundleDifference): void {
  const head = ['change', 'image', 'from', 'to', 'size', 'new'];
  if (changes.length > 0) {
    printLines(formatTable(head, changes.map(rowOf), [4, 5]));
    printLine('');
  }
  const of = (kind: ImageChange['change']): number => changes.filter(({ change }) => change === kind).length;
  const bytes =
    newBlobs === undefined
      ? ''
      : `; ${isUpperBound ? 'at most ' : ''}${count(newBlobs.blobs, 'new blob')} of ${formatBytes(newBlobs.bytes)}`;
  printLine(
    `${of('added')} added, ${of('removed')} removed, ${of('moved')} moved, ${unchanged} unchanged${bytes}`,
  );
}

async function run(args: Arguments): Promise<void> {
  const naming = await namingOf(args);
  const difference = await interruptible((signal) =>
    diff(args.from, args.to, { naming, volumeDirs: args.volumeDir, signal }),
  );
  const kinds = [difference.from.kind, difference.to.kind];
  if (!kinds.includes('receipt') || kinds.every((kind) => kind === 'receipt'))
    rejectUnused(args, flags, ['keep-registry', 'rename', 'rename-map'], {
      when: 'diff',
      problem: 'applies only to a bundle or record that is compared with a receipt',
    });
  if (args.json) printJson(difference);
  else printDifference(difference);
}

/** `airlift diff <from> <to>` */
export function addDiff(parser: Argv, { usage, describe }: CommandHead): Argv {
  const side = { type: 'string', demandOption: true } as const;
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('from', { ...side, describe: 'earlier bundle, its catalog, or a receipt' })
        .positional('to', { ...side, describe: 'later bundle, its catalog, or a receipt' })
        .options(flags)
        .example('$0 diff may.tar june.tar', 'what June brings')
        .example('$0 diff site.receipt june.tar', 'what the site lacks'),
    (args) => run(args),
  );
}
