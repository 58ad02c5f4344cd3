import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { splitBundle, splitByImage, type PartsOptions } from '../index.js';
import type { CommandHead } from './command-names.js';
import { forceFlag, outputFlags, volumeDirFlag, volumeSizeFlag } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { partFlags, partsOf, printParts } from './parts.js';
import { checkBar, progressView } from './progress.js';
import { volumeSizeOf } from './quantities.js';

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'directory, or path of the bundle that the files are named after',
  },
  ...volumeSizeFlag,
  ...partFlags,
  ...volumeDirFlag,
  ...forceFlag,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

/** Runs `split --split-by image`. */
async function runByImage(args: Arguments, parts: PartsOptions): Promise<void> {
  const started = Date.now();
  const view = progressView(args);
  try {
    const { output, volumeDir: volumeDirs, force } = args;
    const { onEvent } = view;
    const written = await interruptible((signal) =>
      splitByImage(args.bundle, { ...parts, output, volumeDirs, force, onEvent, signal }),
    );
    view.stop();
    const milliseconds = Date.now() - started;
    if (args.json) return printJson({ event: 'done', ...written, milliseconds });
    const done = `split ${args.bundle} into ${count(written.parts.length, 'part')} in ${formatDuration(milliseconds)}`;
    printParts(written.parts, done);
  } finally {
    view.stop();
  }
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  const parts = partsOf('split', args);
  if (parts !== undefined) return runByImage(args, parts);
  const volumeSize = volumeSizeOf(args);
  if (volumeSize === undefined)
    throw new AirliftError('usage', 'split: no size', {
      hint: '--volume-size fat32 for volumes, or --split-by image --part-size 2G for bundles of some images each',
    });
  const bar = args.json || args.quiet ? undefined : checkBar('copied');
  try {
    const summary = await interruptible((signal) =>
      splitBundle(args.bundle, {
        output: args.output,
        volumeSize,
        volumeDirs: args.volumeDir,
        force: args.force,
        onProgress: bar?.onProgress,
        signal,
      }),
    );
    bar?.stop();
    const milliseconds = Date.now() - started;
    if (args.json) return printJson({ ...summary, milliseconds });
    const { list, volumes, size } = summary;
    printLine(
      `split ${args.bundle} into ${count(volumes.length, 'volume')}: ${formatBytes(size)} in ${formatDuration(milliseconds)}`,
    );
    printLine(`list: ${list}`);
    printLine(`next: airlift verify ${list}`);
  } finally {
    bar?.stop();
  }
}

/** `airlift split <bundle>` */
export function addSplit(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('bundle', { type: 'string', demandOption: true, describe: 'bundle to split' })
        .options(flags)
        .example('$0 split site.tar --volume-size fat32 -o /mnt/usb/', 'for a stick with FAT32')
        .example(
          '$0 split site.tar --split-by image --part-size 2G -o parts/',
          'for a gateway that inspects files of up to 2 GiB',
        )
        .epilogue('The volumes joined are the bundle, byte for byte: cat site.tar.0* > site.tar'),
    (args) => run(args),
  );
}
