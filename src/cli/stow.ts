import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { stowBundle, type StowSummary } from '../index.js';
import type { CommandHead } from './command-names.js';
import { lineReader } from './ask-line.js';
import { forceFlag, outputFlags, volumeSizeFlag } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine, printNote } from './print.js';
import { checkBar } from './progress.js';
import { volumeSizeOf } from './quantities.js';

const flags = { ...volumeSizeFlag, ...forceFlag, ...outputFlags } as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof flags> & { bundle: string; directory: string }
>;

function printSummary({ files, size, isProven, isReplugged }: StowSummary, milliseconds: number): void {
  const kept = files.reduce((sum, { keptBytes }) => sum + keptBytes, 0);
  for (const { path, sha256 } of files) printLine(`${sha256}  ${path}`);
  printLine(
    `copied ${count(files.length, 'file')}, ${formatBytes(size)}, in ${formatDuration(milliseconds)}` +
      (kept > 0 ? `; ${formatBytes(kept)} were there already` : ''),
  );
  if (isProven) {
    printLine(`read back from the medium${isReplugged ? ', plugged in again' : ''}: every byte is right`);
    printLine('safe to unplug');
    return;
  }
  printLine('not read back: this system reads only from its cache here');
  printLine(`next: unplug the medium, plug it in again, then: airlift verify ${files.at(-1)?.path ?? ''}`);
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  const bar = args.json || args.quiet ? undefined : checkBar();
  const lines = lineReader('stow');
  try {
    const summary = await interruptible((signal) =>
      stowBundle(args.bundle, args.directory, {
        force: args.force,
        volumeSize: volumeSizeOf(args),
        askReplug: async (problem, stop) => {
          bar?.stop();
          printNote(problem ?? 'not read back: this system reads only from its cache here');
          printNote('unplug the medium and plug it in again, then press Enter');
          return (await lines.next(stop)) !== undefined;
        },
        onProgress: bar?.onProgress,
        signal,
      }),
    );
    bar?.stop();
    if (args.json) printJson(summary);
    else printSummary(summary, Date.now() - started);
  } finally {
    lines.close();
    bar?.stop();
  }
}

/** `airlift stow <bundle> <directory>` */
export function addStow(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('bundle', { type: 'string', demandOption: true, describe: 'bundle to copy' })
        .positional('directory', {
          type: 'string',
          demandOption: true,
          describe: 'directory where the medium is mounted',
        })
        .options(flags)
        .example('$0 stow site.tar /mnt/usb', 'with its signatures and the kit beside it')
        .example('$0 stow site.tar /mnt/usb --volume-size fat32', 'for a stick with FAT32')
        .epilogue(
          'After an interruption, the same command resumes. "safe to unplug" comes last, or not at all.',
        ),
    (args) => run(args),
  );
}
