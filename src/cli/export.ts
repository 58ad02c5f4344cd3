import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { exportImages, inspect, refuseDirectory, type ExportSummary } from '../index.js';
import type { CommandHead } from './command-names.js';
import { creationTime } from './environment.js';
import { exitCodes } from './exit-codes.js';
import { runPreview } from './export-preview.js';
import { ownFlagsFirst, registryFlags, registryOptionsOf } from './registry-flags.js';
import { outputFlags, platformFlag, platformsOf, positive } from './flags.js';
import { formatBytes, formatDuration } from './format.js';
import { relaxHeap } from './heap.js';
import { failuresWithFlags } from './hints.js';
import { interruptible } from './interrupt.js';
import { imagesOf, imageFlags, readLists, referencesPositional, registriesIn } from './images.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';
import { printFailed } from './publish-summary.js';
import { countNames, notesOnSignatures } from './signatures.js';
import { hooksOf } from './trace.js';

const flags = {
  ...imageFlags,
  output: { alias: 'o', type: 'string', requiresArg: true, describe: 'bundle to write' },
  ...platformFlag,
  'skip-missing-platforms': {
    type: 'boolean',
    default: false,
    describe: 'warn of a platform an image lacks, instead of failing',
  },
  referrers: { type: 'boolean', default: true, describe: 'carry signatures and other referrers' },
  'foreign-layers': {
    choices: ['include', 'keep'] as const,
    default: 'include' as const,
    describe: 'carry non-distributable layers, or keep only their descriptors',
  },
  concurrency: { alias: 'j', type: 'number', default: 8, requiresArg: true, describe: 'transfers at a time' },
  'keep-going': {
    alias: 'k',
    type: 'boolean',
    default: false,
    describe: 'export what can be exported when some images fail',
  },
  refresh: {
    type: 'boolean',
    default: false,
    describe: 'look all images up anew where an interrupted export has pinned them',
  },
  lock: {
    type: 'string',
    requiresArg: true,
    describe: 'file that gets what was looked up; given to --images it takes the same again',
  },
  'dry-run': {
    type: 'boolean',
    default: false,
    describe: 'look everything up, print images, platforms, bytes and requests, and write nothing',
  },
  force: { alias: 'f', type: 'boolean', default: false, describe: 'replace a bundle that is there' },
  ...registryFlags,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { references?: string[] }>;

async function printSummary(summary: ExportSummary, milliseconds: number): Promise<void> {
  const inspection = await inspect(summary.path);
  const platforms = summary.platforms.length > 0 ? ` (${summary.platforms.join(', ')})` : '';
  const resumed =
    summary.resumedBytes > 0 ? `, ${formatBytes(summary.resumedBytes)} were there from before` : '';
  printLine(
    `exported ${countNames(inspection.images.map(({ reference }) => reference))}${platforms} to ${summary.path}: ${formatBytes(summary.size)}, ` +
      `${formatBytes(summary.fetchedBytes)} of blobs fetched in ${formatDuration(milliseconds)}${resumed}`,
  );
  printFailed(summary.failed);
  notesOnSignatures(inspection).forEach(printLine);
  printLine(`digest of its SHA256SUMS: ${summary.sums}`);
  printLine('send this digest to the site by another way than the bundle: verify prints it there');
  printLine(`next: airlift verify ${summary.path}`);
}

function refuseUnclear({ output, dryRun, lock }: Arguments): void {
  if (output === undefined && !dryRun) {
    throw new AirliftError('usage', 'export: no output', {
      hint: 'name the bundle to write with -o, or pass --dry-run to see what it would hold',
    });
  }
  if (dryRun && lock !== undefined) {
    throw new AirliftError('usage', 'export: --dry-run writes nothing, --lock neither', {
      hint: 'leave one of them out',
    });
  }
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  refuseUnclear(args);
  if (args.output !== undefined) await refuseDirectory(args.output, '-o', 'site.tar');
  if (args.lock !== undefined) await refuseDirectory(args.lock, '--lock', 'site.lock');
  const list = await readLists(args);
  const registry = await registryOptionsOf(args, process.env, registriesIn(list));
  const images = await imagesOf('export', list, args, registry);
  relaxHeap(images.length);
  const options = {
    images,
    platforms: platformsOf(args.platform),
    skipMissingPlatforms: args.skipMissingPlatforms,
    referrers: args.referrers,
    foreignLayers: args.foreignLayers,
    registry,
    hooks: hooksOf(args),
    keepGoing: args.keepGoing,
  };
  const { output } = args;
  if (args.dryRun || output === undefined) return runPreview(options, args);
  const view = progressView(args);
  try {
    const summary = await interruptible((signal) =>
      exportImages({
        ...options,
        output,
        created: creationTime(process.env),
        concurrency: positive('concurrency', args.concurrency),
        lock: args.lock,
        force: args.force,
        refresh: args.refresh,
        onEvent: view.onEvent,
        signal,
      }),
    );
    view.stop();
    const milliseconds = Date.now() - started;
    if (args.json)
      printJson({ event: 'done', ...summary, failed: failuresWithFlags(summary.failed), milliseconds });
    else await printSummary(summary, milliseconds);
    if (summary.failed.length > 0) process.exitCode = exitCodes.someFailed;
  } finally {
    view.stop();
  }
}

/** `airlift export [references..]` */
export function addExport(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(yargs.positional('references', referencesPositional))
        .options(flags)
        .example(
          '$0 export rancher/pause:3.1 --platform linux/amd64,linux/arm64 -o site.tar',
          'two platforms of one image',
        )
        .example('$0 export --images list.txt -o site.tar', 'every image of a list, all platforms')
        .example('$0 export --images list.txt --dry-run', 'what that would take, and cost'),
    (args) => run(args),
  );
}
