import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { pruneStore } from '../index.js';
import type { CommandHead } from './command-names.js';
import { count, formatBytes } from './format.js';
import { jsonFlag } from './flags.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { parseDuration } from './quantities.js';

const flags = {
  'dry-run': {
    type: 'boolean',
    default: false,
    describe: 'print what would be removed; remove nothing',
  },
  'min-age': {
    type: 'string',
    default: '24h',
    requiresArg: true,
    describe: 'keep what was pushed within this time; longer than any push takes',
  },
  ...jsonFlag,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { directory: string }>;

async function run({ directory, dryRun, minAge, json }: Arguments): Promise<void> {
  const removed: string[] = [];
  const verb = dryRun ? 'would remove' : 'removed';
  const summary = await interruptible((signal) =>
    pruneStore(directory, {
      dryRun,
      minAge: parseDuration('min-age', minAge),
      onManifest: (name) => {
        if (json) removed.push(name);
        else printLine(`${verb} ${name}`);
      },
      signal,
    }),
  );
  if (json) {
    printJson({ directory, dryRun, ...summary, removed });
    return;
  }
  const { manifests, blobs, bytes, keptManifests } = summary;
  printLine(
    `${verb} ${count(manifests, 'manifest')} and ${count(blobs, 'file')} with ${formatBytes(bytes)}; ` +
      `${count(keptManifests, 'manifest')} ${keptManifests === 1 ? 'stays' : 'stay'}`,
  );
}

/** `airlift prune <directory>` */
export function addPrune(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('directory', {
          type: 'string',
          demandOption: true,
          describe: 'directory that airlift serve --store serves, also while it does',
        })
        .options(flags)
        .example('$0 prune /srv/registry --dry-run', 'see what would go'),
    (args) => run(args),
  );
}
