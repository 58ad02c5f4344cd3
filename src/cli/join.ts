import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { joinBundle } from '../index.js';
import type { CommandHead } from './command-names.js';
import { forceFlag, outputFlags, volumeDirFlag } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { checkBar } from './progress.js';

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'bundle file to write, or a directory for it',
  },
  ...volumeDirFlag,
  ...forceFlag,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  const bar = args.json || args.quiet ? undefined : checkBar('copied');
  try {
    const summary = await interruptible((signal) =>
      joinBundle(args.bundle, {
        output: args.output,
        volumeDirs: args.volumeDir,
        force: args.force,
        onProgress: bar?.onProgress,
        signal,
      }),
    );
    bar?.stop();
    const milliseconds = Date.now() - started;
    if (args.json) return printJson({ ...summary, milliseconds });
    const { path, size, volumes, sums } = summary;
    printLine(
      `joined ${count(volumes, 'volume')} to ${path}: ${formatBytes(size)} in ${formatDuration(milliseconds)}`,
    );
    printLine(`SHA256SUMS digest: ${sums}`);
    printLine(`next: airlift verify ${path}`);
  } finally {
    bar?.stop();
  }
}

/** `airlift join <bundle>` */
export function addJoin(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('bundle', {
          type: 'string',
          demandOption: true,
          describe: 'list of the volumes, or any of them',
        })
        .options(flags)
        .example('$0 join /mnt/a/site.tar.001 --volume-dir /mnt/b -o site.tar', 'from two sticks'),
    (args) => run(args),
  );
}
