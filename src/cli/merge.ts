import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { mergeBundles, refuseDirectory, type MergeBundlesSummary } from '../index.js';
import { archiveFlags } from './archives.js';
import type { CommandHead } from './command-names.js';
import { creationTime } from './environment.js';
import { forceFlag, outputFlags, volumeDirFlag, volumeSizeFlag } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';
import { volumeSizeOf } from './quantities.js';
import { bundleSigningOf } from './signing-key.js';
import { printBundleSteps } from './summaries.js';

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'bundle file to write',
  },
  'on-existing-tag': {
    choices: ['error', 'overwrite', 'skip'] as const,
    default: 'error' as const,
    describe: 'if two images have one name: fail, or take that of the later or earlier bundle',
  },
  delta: {
    type: 'boolean',
    default: false,
    describe: 'write a delta if layers are missing in all bundles, instead of failing',
  },
  'require-signature': {
    ...archiveFlags['require-signature'],
    describe: 'public key, or directory of them, of which one must have signed each bundle',
  },
  sign: {
    type: 'string',
    requiresArg: true,
    describe: 'secret key to sign the merged bundle with, in the bundle itself',
  },
  ...volumeSizeFlag,
  ...volumeDirFlag,
  ...forceFlag,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundles: string[] }>;

function printSummary(summary: MergeBundlesSummary, milliseconds: number): void {
  const { path, size, bundles, images, platforms, leftOut, sums } = summary;
  const of = platforms.length > 0 ? ` (${platforms.join(', ')})` : '';
  printLine(
    `merged ${count(bundles, 'bundle')} into ${path}: ${count(images, 'image')}${of}, ${formatBytes(size)} in ${formatDuration(milliseconds)}`,
  );
  if (leftOut.blobs > 0)
    printLine(
      `a delta: ${count(leftOut.blobs, 'layer')} (${formatBytes(leftOut.bytes)}) left out, which none of the bundles has; the site needs them to import it`,
    );
  printBundleSteps(path, sums);
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  await refuseDirectory(args.output, '-o', 'merged.tar');
  const volumeSize = volumeSizeOf(args);
  const created = creationTime(process.env);
  const view = progressView(args);
  try {
    const summary = await interruptible(async (signal) => {
      // First, since it asks for a password.
      const sign = await bundleSigningOf(args, signal);
      return mergeBundles({
        bundles: args.bundles,
        output: args.output,
        created,
        onExistingTag: args.onExistingTag,
        delta: args.delta,
        requireSignature: args.requireSignature,
        sign,
        volumeSize,
        volumeDirs: args.volumeDir,
        force: args.force,
        onEvent: view.onEvent,
        signal,
      });
    });
    view.stop();
    const milliseconds = Date.now() - started;
    if (args.json) printJson({ event: 'done', ...summary, milliseconds });
    else printSummary(summary, milliseconds);
  } finally {
    view.stop();
  }
}

/** `airlift merge <bundles..>` */
export function addMerge(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('bundles', {
          type: 'string',
          array: true,
          demandOption: true,
          describe: 'bundles to merge, deltas and the bundles that they need among them',
        })
        .options(flags)
        .example('$0 merge may.tar june-delta.tar -o june.tar', 'a full bundle of a delta and its base')
        .example('$0 merge may-delta.tar june-delta.tar --delta -o both.tar', 'one delta of two'),
    (args) => run(args),
  );
}
