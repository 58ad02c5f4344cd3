import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { splitBundle } from '../index.js';
import type { CommandHead } from './command-names.js';
import { forceFlag, outputFlags, volumeDirFlag, volumeSizeFlag } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { checkBar } from './progress.js';
import { parseVolumeSize } from './quantities.js';

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'directory for the volumes, or path to which .001, .002, … are added',
  },
  'volume-size': { ...volumeSizeFlag['volume-size'], demandOption: true },
  ...volumeDirFlag,
  ...forceFlag,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  const volumeSize = parseVolumeSize('volume-size', args.volumeSize);
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
        .epilogue('The volumes joined are the bundle, byte for byte: cat site.tar.0* > site.tar'),
    (args) => run(args),
  );
}
