import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { parseDigest, parseSite, repairBundle, type RepairSummary } from '../index.js';
import type { CommandHead } from './command-names.js';
import { exitCodes } from './exit-codes.js';
import { outputFlags, volumeDirFlag } from './flags.js';
import { count, describeBroken, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { checkBar } from './progress.js';
import { ownFlagsFirst, registryFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { hooksOf } from './trace.js';
import { namesOf, rejectUnused } from './unused-flags.js';

const flags = {
  from: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'file of export --request, or another copy of the bundle, damaged or not',
  },
  'from-registry': {
    type: 'string',
    requiresArg: true,
    describe: 'registry to take blobs from: HOST[:PORT][/PATH], as for import --to',
  },
  'keep-registry': {
    type: 'boolean',
    default: false,
    describe: 'the images were imported with --keep-registry',
  },
  sums: {
    type: 'string',
    requiresArg: true,
    describe: 'SHA256SUMS digest of export: proves a rebuilt catalog or the head of a copy',
  },
  ...volumeDirFlag,
  ...registryFlags,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

function printSummary(summary: RepairSummary, milliseconds: number): void {
  const {
    bundle,
    headBytes,
    headFrom,
    isCatalogRebuilt,
    headers,
    blobs,
    blobBytes,
    firstMissing,
    missing,
    missingBytes,
  } = summary;
  if (headBytes > 0)
    printLine(
      isCatalogRebuilt
        ? 'rebuilt the catalog from the manifests: it has the digest that it should have'
        : `repaired the head from ${headFrom ?? 'the catalog'}`,
    );
  if (headers > 0) printLine(`rewrote ${count(headers, 'header')} and paddings from the catalog`);
  for (const { digest, size, images, reason } of firstMissing) {
    printLine(`still damaged: ${digest}, ${formatBytes(size)}`);
    if (reason !== undefined) printLine(`  ${reason}`);
    images.map(describeBroken).forEach(printLine);
  }
  if (missing > firstMissing.length) printLine(`and ${missing - firstMissing.length} more`);
  const repaired = `${count(blobs, 'blob')} of ${formatBytes(blobBytes)}`;
  if (summary.ok) {
    const what =
      blobs > 0 || headers > 0 || headBytes > 0
        ? `repaired ${bundle}: ${repaired}`
        : `${bundle} is whole: nothing to repair`;
    printLine(`${what}; everything verified in ${formatDuration(milliseconds)}`);
    printLine(`SHA256SUMS digest: ${summary.sums}`);
    printLine(`next: airlift verify ${bundle}`);
    return;
  }
  printLine(
    `repaired ${repaired} of ${bundle}; ${count(missing, 'blob')} of ${formatBytes(missingBytes)} still damaged`,
  );
  printLine(`next: airlift verify ${bundle} --request site.request, then bring what it asks for`);
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  const site =
    args.fromRegistry === undefined
      ? undefined
      : { ...parseSite(args.fromRegistry), keepRegistry: args.keepRegistry };
  if (site === undefined)
    rejectUnused(args, flags, ['keep-registry', ...namesOf(registryFlags)], {
      when: 'repair',
      problem: 'needs --from-registry',
      hint: 'name the registry with --from-registry HOST[:PORT]',
    });
  const registry = await registryOptionsOf(args, process.env, site === undefined ? [] : [site.registry]);
  const bar = args.json || args.quiet ? undefined : checkBar();
  try {
    const summary = await interruptible((signal) =>
      repairBundle(args.bundle, {
        from: args.from,
        volumeDirs: args.volumeDir,
        site,
        sums: args.sums === undefined ? undefined : parseDigest(args.sums),
        registry,
        hooks: hooksOf(args),
        onProgress: bar?.onProgress,
        signal,
      }),
    );
    bar?.stop();
    if (args.json) printJson(summary);
    else printSummary(summary, Date.now() - started);
    if (!summary.ok) process.exitCode = exitCodes.damaged;
  } finally {
    bar?.stop();
  }
}

/** `airlift repair <bundle>` */
export function addRepair(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(
        yargs.positional('bundle', {
          type: 'string',
          demandOption: true,
          describe: 'damaged or truncated bundle, which is repaired in place',
        }),
      )
        .options(flags)
        .example('$0 repair site.tar --from repair.tar', 'with what export --request wrote')
        .example('$0 repair site.tar --from /mnt/b/site.tar', 'from another copy')
        .example('$0 repair site.tar --from-registry site:5000', 'from the registry that has the images')
        .epilogue(
          'Exit code 4 means that blobs are still damaged; they are listed with the images they break.',
        ),
    (args) => run(args),
  );
}
