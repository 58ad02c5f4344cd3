import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import {
  exportRequested,
  refuseDirectory,
  registriesOfRequest,
  type ExportRequestedSummary,
} from '../index.js';
import { exitCodes } from './exit-codes.js';
import type { forceFlag, outputFlags } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { readLists, registriesIn, type ImageArguments } from './images.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';
import type { RegistryArguments } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { hooksOf } from './trace.js';

/** Flags of `export` for repairing a bundle. */
export const requestFlags = {
  request: {
    type: 'string',
    requiresArg: true,
    describe: 'file of verify --request: export only the blobs that it asks for',
  },
  from: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'with --request: bundle to take blobs from before asking registries',
  },
} as const satisfies Record<string, Options>;

type Arguments = ImageArguments &
  RegistryArguments &
  ArgumentsCamelCase<
    InferredOptionTypes<typeof requestFlags & typeof forceFlag & typeof outputFlags> & {
      output: string | undefined;
      dryRun: boolean;
    }
  > & { request: string };

function printSummary(summary: ExportRequestedSummary, milliseconds: number): void {
  const { path, bundle, blobs, blobBytes, head, unavailable, unavailableCount } = summary;
  for (const { digest, images, error } of unavailable) {
    printLine(`not available: ${digest}${images.length > 0 ? `, for ${images.join(', ')}` : ''}`);
    printLine(`  ${error.message}`);
  }
  if (unavailableCount > unavailable.length) printLine(`and ${unavailableCount - unavailable.length} more`);
  if (head === 'unavailable')
    printLine('not available: the head of the bundle; name a whole copy of the bundle with --from FILE');
  const what = [head === 'carried' ? 'the head' : '', `${count(blobs, 'blob')} of ${formatBytes(blobBytes)}`];
  printLine(
    `exported ${what.filter((text) => text !== '').join(' and ')} to ${path}: ${formatBytes(summary.size)} in ${formatDuration(milliseconds)}`,
  );
  printLine(`next: at the site, airlift repair ${bundle === '' ? 'BUNDLE' : bundle} --from ${path}`);
}

/** Runs `export --request`. */
export async function runRequested(args: Arguments): Promise<void> {
  const started = Date.now();
  const { output, request } = args;
  if (output === undefined || args.dryRun)
    throw new AirliftError(
      'usage',
      'export: --request needs an output file and cannot be combined with --dry-run',
      {
        hint: 'name the repair file with -o repair.tar',
      },
    );
  await refuseDirectory(output, '-o', 'repair.tar');
  const list = await readLists(args);
  const registries = new Set([...registriesIn(list), ...(await registriesOfRequest(request))]);
  const view = progressView(args);
  try {
    const summary = await interruptible(async (signal) =>
      exportRequested({
        request,
        output,
        from: args.from,
        repositories: list.references.map(({ reference }) => reference),
        registry: await registryOptionsOf(args, process.env, registries),
        hooks: hooksOf(args),
        force: args.force,
        onEvent: view.onEvent,
        signal,
      }),
    );
    view.stop();
    const milliseconds = Date.now() - started;
    if (args.json) printJson({ event: 'done', ...summary, milliseconds });
    else printSummary(summary, milliseconds);
    if (summary.unavailableCount > 0 || summary.head === 'unavailable')
      process.exitCode = exitCodes.someFailed;
  } finally {
    view.stop();
  }
}
