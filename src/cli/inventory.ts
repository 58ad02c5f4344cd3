import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError, firstLines } from '../errors.js';
import { inventory, placeOf, refuseDirectory, type InventorySummary, type Reference } from '../index.js';
import type { CommandHead } from './command-names.js';
import { creationTime } from './environment.js';
import { outputFlags } from './flags.js';
import { count } from './format.js';
import { imageFlags, noImages, readLists } from './images.js';
import { interruptible } from './interrupt.js';
import { nameFlags } from './name-flags.js';
import { siteOf } from './names.js';
import { printJson, printLine, printNote } from './print.js';
import { ownFlagsFirst, registryFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { hooksOf } from './trace.js';
import { rejectUnused } from './unused-flags.js';
import { version } from './version.js';

const { 'keep-registry': keepRegistry, rename, 'rename-map': renameMap } = nameFlags;

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'receipt to write',
  },
  images: {
    ...imageFlags.images,
    describe: 'file that lists the images to look for (default: what the registry lists)',
  },
  bundle: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'bundle whose images to look for',
  },
  'keep-registry': keepRegistry,
  rename,
  'rename-map': renameMap,
  ...outputFlags,
  ...registryFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { registry: string }>;

/** Most names to show of those that the receipt leaves out. */
const maxShown = 20;

/** Prints the number of images in a receipt, and the names that are not in it. */
function printReceipt({ path, registry, images, entries, absent, incomplete }: InventorySummary): void {
  const skipped = [
    ...absent.map((name) => `not in the registry: ${name}`),
    ...incomplete.map((name) => `incomplete in the registry: ${name}`),
  ];
  for (const line of firstLines(skipped, maxShown)) printNote(line);
  printLine(`wrote ${path}: ${count(images, 'image')} of ${registry}, ${count(entries, 'line')}`);
  printLine(`next: airlift export --images LIST --base ${path} -o delta.tar`);
}

/**
 * Reads the names of a list.
 * @throws AirliftError `usage` if there are none, or if a pattern selects tags: only their registry could list those
 */
async function namesOf(args: Arguments): Promise<Reference[]> {
  const list = await readLists({
    ...args,
    references: [],
    tags: undefined,
    allTags: false,
    'all-tags': false,
  });
  const [pattern] = list.patterns;
  if (pattern !== undefined)
    throw new AirliftError('usage', `inventory: ${placeOf(pattern)} selects tags by a pattern`, {
      hint: 'name the bundle that was imported instead: --bundle site.tar',
    });
  if (list.references.length === 0) throw noImages('inventory', args.images ?? []);
  return list.references.map(({ reference }) => reference);
}

async function run(args: Arguments): Promise<void> {
  const { output, bundle } = args;
  if (args.images === undefined && bundle === undefined)
    rejectUnused(args, flags, ['keep-registry', 'rename', 'rename-map'], {
      when: 'inventory',
      problem: 'applies only with --images or --bundle: the registry lists its own names',
    });
  await refuseDirectory(output, '-o', 'site.receipt');
  const from = await siteOf({ ...args, to: args.registry });
  const registry = await registryOptionsOf(args, process.env, [from.registry], from.registry);
  const listed = args.images === undefined ? undefined : await namesOf(args);
  const summary = await interruptible((signal) =>
    inventory({
      from,
      imageNames: listed,
      bundles: bundle,
      output,
      version: version(),
      time: creationTime(process.env),
      registry,
      hooks: hooksOf(args),
      signal,
    }),
  );
  if (args.json) printJson(summary);
  else printReceipt(summary);
}

/** `airlift inventory <registry>` */
export function addInventory(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(
        yargs.positional('registry', {
          type: 'string',
          demandOption: true,
          describe: 'registry to list, with optional path: HOST[:PORT][/PREFIX]',
        }),
      )
        .options(flags)
        .example('$0 inventory 192.168.2.23:5000 -o site.receipt', 'everything that the registry lists')
        .example(
          '$0 inventory harbor.site/mirror --images list.txt -o site.receipt',
          'only the images of a list, for registries that list nothing',
        ),
    (args) => run(args),
  );
}
