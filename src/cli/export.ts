import { basename, dirname } from 'node:path';
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import {
  buildKit,
  exportBundle,
  exportParts,
  fetchKitParts,
  inspect,
  refuseDirectory,
  type ExportPartsSummary,
  type ExportSummary,
  type Inspection,
  type KitSummary,
  type RegistryOptions,
} from '../index.js';
import type { CommandHead } from './command-names.js';
import { creationTime } from './environment.js';
import { exitCodes } from './exit-codes.js';
import { runPreview } from './export-preview.js';
import { ownFlagsFirst, registryFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import {
  contentFlags,
  forceFlag,
  outputFlags,
  platformFlags,
  platformsOf,
  positive,
  transferFlags,
  volumeSizeFlag,
} from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { failuresWithFlags } from './hints.js';
import { interruptible } from './interrupt.js';
import { kitSourceOf, printKit } from './kit.js';
import { requestFlags, runRequested } from './export-requested.js';
import { imagesOf, imageFlags, readLists, referencesPositional, registriesIn } from './images.js';
import { partFlags, partsOf, printParts } from './parts.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';
import { volumeSizeOf } from './quantities.js';
import { printBundleSteps, printFailed } from './summaries.js';
import { countNames, notesOnSignatures, signedFiltered, signedLines } from './signatures.js';
import { bundleSigningOf, openSigningKey } from './signing-key.js';
import { hooksOf } from './trace.js';
import { rejectUnused } from './unused-flags.js';
import { version } from './version.js';

const flags = {
  ...imageFlags,
  output: { alias: 'o', type: 'string', requiresArg: true, describe: 'bundle file to write' },
  ...requestFlags,
  ...platformFlags,
  ...contentFlags,
  ...transferFlags,
  refresh: {
    type: 'boolean',
    default: false,
    describe: 'resolve tags again instead of using the digests of an interrupted export',
  },
  sign: {
    type: 'string',
    requiresArg: true,
    describe: 'secret key to sign the bundle with, in the bundle itself',
  },
  'sign-images': {
    type: 'string',
    requiresArg: true,
    describe: 'ECDSA key to sign filtered images with, for cosign verify at the site',
  },
  'trusted-root': {
    type: 'string',
    requiresArg: true,
    describe: 'trusted_root.json of sigstore to carry, for verify --certificate-identity',
  },
  lock: {
    type: 'string',
    requiresArg: true,
    describe: 'file to record the resolved digests in, for use with --images',
  },
  base: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'receipt or earlier bundle of the site: leave out the layers it has',
  },
  sent: {
    type: 'string',
    requiresArg: true,
    describe: 'record of what was sent: leave its layers out, then add this bundle',
  },
  'dry-run': {
    type: 'boolean',
    default: false,
    describe: 'print images, platforms, sizes and request counts; write nothing',
  },
  'with-kit': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'write airlift beside the bundle, for machines of these platforms',
  },
  ...volumeSizeFlag,
  ...partFlags,
  ...forceFlag,
  ...registryFlags,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { references?: string[] }>;

/** Tells what `--sign-images` has signed, and how the site checks it. */
function signedImagesLine(inspection: Inspection): string {
  const signed = signedFiltered(inspection).length;
  return signed === 0
    ? 'no image is filtered: --sign-images had nothing to sign'
    : `signed ${count(signed, 'filtered image')}; at the site: cosign verify --key PUBLIC.pub --insecure-ignore-tlog=true NAME:TAG`;
}

async function printSummary(
  summary: ExportSummary,
  kit: KitSummary | undefined,
  milliseconds: number,
  { sent, signImages }: Arguments,
): Promise<void> {
  const inspection = await inspect(summary.path);
  const platforms = summary.platforms.length > 0 ? ` (${summary.platforms.join(', ')})` : '';
  const resumed =
    summary.resumedBytes > 0 ? `, ${formatBytes(summary.resumedBytes)} kept from an earlier run` : '';
  printLine(
    `exported ${countNames(inspection.images.map(({ reference }) => reference))}${platforms} to ${summary.path}: ${formatBytes(summary.size)}, ` +
      `${formatBytes(summary.fetchedBytes)} of blobs fetched in ${formatDuration(milliseconds)}${resumed}`,
  );
  const { blobs, bytes } = summary.leftOut;
  if (blobs > 0)
    printLine(
      `a delta: ${count(blobs, 'layer')} (${formatBytes(bytes)}) left out, which the base has; the site needs them to import it`,
    );
  if (sent !== undefined) printLine(`added it to ${sent}, for the next export with --sent`);
  printFailed(summary.failed);
  if (signImages !== undefined) printLine(signedImagesLine(inspection));
  notesOnSignatures(inspection).forEach(printLine);
  if (kit !== undefined) printKit(kit);
  signedLines(inspection.signedBy.filter(({ place }) => place.startsWith('airlift/'))).forEach(printLine);
  printBundleSteps(summary.path, summary.sums);
}

function printPartsSummary(
  summary: ExportPartsSummary,
  kit: KitSummary | undefined,
  milliseconds: number,
): void {
  const { parts, platforms, fetchedBytes, failed } = summary;
  const names = platforms.length > 0 ? ` (${platforms.join(', ')})` : '';
  const images = parts.reduce((sum, part) => sum + part.images, 0);
  const done =
    `exported ${count(images, 'image')}${names} to ${count(parts.length, 'part')}: ` +
    `${formatBytes(fetchedBytes)} of blobs fetched in ${formatDuration(milliseconds)}`;
  printFailed(failed);
  if (kit !== undefined) printKit(kit);
  printParts(parts, done);
}

/** The flags that choose what a bundle contains, and how it is written: a repair file has exactly the blobs of its request. */
const bundleOnly = [
  'base',
  'sent',
  'lock',
  'sign',
  'sign-images',
  'trusted-root',
  'with-kit',
  'volume-size',
  'split-by',
  'part-size',
  'whole-parts',
  'platform',
  'skip-missing-platforms',
  'referrers',
  'foreign-layers',
  'tags',
  'all-tags',
  'refresh',
  'keep-going',
  'concurrency',
] as const;

function checkOutputFlags(args: Arguments): void {
  const { output, dryRun, lock, request } = args;
  if (request === undefined)
    rejectUnused(args, flags, ['from'], {
      when: 'export',
      problem: 'applies only with --request',
      hint: 'name the request of the site with --request, or earlier bundles with --base',
    });
  else
    rejectUnused(args, flags, bundleOnly, {
      when: 'export --request',
      problem: 'does not apply: a repair file has the blobs of the request',
    });
  if (output === undefined && !dryRun) {
    throw new AirliftError('usage', 'export: no output file', {
      hint: 'name the bundle with -o FILE, or preview it with --dry-run',
    });
  }
  if (dryRun && lock !== undefined) {
    throw new AirliftError('usage', 'export: --dry-run writes no files and cannot be combined with --lock', {
      hint: 'omit --dry-run or --lock',
    });
  }
}

/** Returns what `--with-kit` asks for. */
function partsOfKit(
  args: Arguments,
  registry: RegistryOptions,
): Parameters<typeof fetchKitParts>[0] | undefined {
  if (args.withKit === undefined) return undefined;
  const platforms = platformsOf(args.withKit, '--with-kit');
  return { ...kitSourceOf({}, registry, process.env), platforms, hooks: hooksOf(args) };
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  checkOutputFlags(args);
  if (args.request !== undefined) return runRequested({ ...args, request: args.request });
  if (args.output !== undefined) await refuseDirectory(args.output, '-o', 'site.tar');
  if (args.lock !== undefined) await refuseDirectory(args.lock, '--lock', 'site.lock');
  if (args.sent !== undefined) await refuseDirectory(args.sent, '--sent', 'site.sent');
  const volumeSize = volumeSizeOf(args);
  const dividing = partsOf('export', args);
  if (dividing !== undefined && args.sent !== undefined)
    throw new AirliftError('usage', 'export: --sent cannot be combined with --split-by', {
      hint: 'export one bundle with --sent, then airlift split it --split-by image',
    });
  if (dividing !== undefined && args.signImages !== undefined)
    throw new AirliftError('usage', 'export: --sign-images cannot be combined with --split-by', {
      hint: 'export one bundle with --sign-images, then airlift split it --split-by image',
    });
  const list = await readLists(args);
  const registry = await registryOptionsOf(args, process.env, registriesIn(list));
  const images = await imagesOf('export', list, args, registry);
  const options = {
    images,
    platforms: platformsOf(args.platform),
    skipMissingPlatforms: args.skipMissingPlatforms,
    referrers: args.referrers,
    foreignLayers: args.foreignLayers,
    trustedRoot: args.trustedRoot,
    registry,
    hooks: hooksOf(args),
    keepGoing: args.keepGoing,
    base: args.base,
    sent:
      args.sent === undefined
        ? undefined
        : { path: args.sent, version: version(), time: creationTime(process.env) },
    force: args.force,
  };
  const { output } = args;
  if (args.dryRun || output === undefined) return runPreview(options, args);
  const view = progressView(args);
  const late = { doing: `export to ${output}`, hint: 'run the same command again to resume' };
  try {
    const [summary, kit] = await interruptible(async (signal) => {
      // First, since they ask for passwords.
      const sign = await bundleSigningOf(args, signal);
      const imageKey =
        args.signImages === undefined ? undefined : await openSigningKey(args.signImages, signal);
      const parts = partsOfKit(args, registry);
      // First, so that a missing part is known before a long export.
      if (parts !== undefined) await fetchKitParts({ ...parts, onEvent: view.onEvent, signal });
      const common = {
        ...options,
        output,
        created: creationTime(process.env),
        sign,
        concurrency: positive('concurrency', args.concurrency),
        lock: args.lock,
        refresh: args.refresh,
        onEvent: view.onEvent,
        signal,
      };
      const exported =
        dividing === undefined
          ? await exportBundle({ ...common, signImages: imageKey, volumeSize })
          : await exportParts({ ...common, ...dividing });
      if (parts === undefined) return [exported, undefined];
      const bundles =
        'parts' in exported ? exported.parts.map(({ path }) => basename(path)) : [basename(exported.path)];
      return [exported, await buildKit({ ...parts, output: dirname(output), bundles, signal })];
    }, late);
    view.stop();
    const milliseconds = Date.now() - started;
    if (args.json)
      printJson({ event: 'done', ...summary, failed: failuresWithFlags(summary.failed), kit, milliseconds });
    else if ('parts' in summary) printPartsSummary(summary, kit, milliseconds);
    else await printSummary(summary, kit, milliseconds, args);
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
          'one image for two platforms',
        )
        .example('$0 export --images list.txt -o site.tar', 'all images of a list, with all platforms')
        .example('$0 export --request site.request -o repair.tar', 'what a damaged bundle needs')
        .example('$0 export --images list.txt --dry-run', 'preview the size and number of requests'),
    (args) => run(args),
  );
}
