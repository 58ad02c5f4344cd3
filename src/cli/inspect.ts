import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { inspect, type Inspection } from '../index.js';
import type { CommandHead } from './command-names.js';
import { baseLines } from './delta.js';
import { dash } from './stdin-dash.js';
import { withBundle, withInputName } from './bundle-input.js';
import { count, formatBytes, formatTable } from './format.js';
import { jsonFlag, volumeDirFlag } from './flags.js';
import { interruptible } from './interrupt.js';
import { describePart } from './parts.js';
import { countNames, notesOnSignatures, signedLines } from './signatures.js';
import { printJson, printLine, printLines } from './print.js';

const flags = {
  ...jsonFlag,
  ...volumeDirFlag,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

/** Formats one row per platform; only the first row of an image has its name. */
function rowsOf(inspection: Inspection): string[][] {
  return inspection.images.flatMap(({ reference, digest, platforms, size, companionOf }) => {
    const parts = platforms.map((part) => [part.platform, formatBytes(part.size)]);
    const kind = companionOf === undefined ? '-' : 'signature';
    const [first = [kind, formatBytes(size)], ...rest] = parts;
    return [[reference, ...first, digest.slice(0, 19)], ...rest.map((part) => ['', ...part, ''])];
  });
}

/** Prints what a delta expects at the site, and what to do with it. */
function printDelta({ bases, blobs, bytes }: NonNullable<Inspection['delta']>, argument: string): void {
  const bundle = argument === dash ? 'DELTA' : argument;
  printLine(
    `a delta: it leaves out ${count(blobs, 'layer')} (${formatBytes(bytes)}), which the site must have`,
  );
  baseLines(bases).forEach(printLine);
  printLine(`next: airlift verify ${bundle} --base OLD.tar checks it with its base`);
  printLine(
    `  airlift import ${bundle} --to HOST[:PORT] looks for each left-out layer before it pushes anything`,
  );
}

async function run(args: Arguments): Promise<void> {
  const found = await interruptible((signal) =>
    withBundle(args.bundle, signal, (path) => inspect(path, { volumeDirs: args.volumeDir })),
  );
  const inspection = withInputName(args.bundle, found);
  if (args.json) {
    printJson(inspection);
    return;
  }
  printLines(formatTable(['image', 'platform', 'size', 'digest'], rowsOf(inspection), [2]));
  const shared = inspection.sharedBytes > 0 ? `, sharing saved ${formatBytes(inspection.sharedBytes)}` : '';
  const leftOut =
    inspection.leftOut > 0
      ? `; ${count(inspection.leftOut, 'blob')} left out (${formatBytes(inspection.leftOutBytes)})`
      : '';
  printLine('');
  printLine(
    `${inspection.bundle}: ${countNames(inspection.images.map(({ reference }) => reference))}, ${count(inspection.blobs, 'blob')}, ` +
      `${formatBytes(inspection.size)} in all${shared}${leftOut}, made ${inspection.created}`,
  );
  if (inspection.delta !== undefined) printDelta(inspection.delta, args.bundle);
  if (inspection.part !== undefined) printLine(describePart(inspection.part));
  notesOnSignatures(inspection).forEach(printLine);
  signedLines(inspection.signedBy).forEach(printLine);
  if (inspection.signedBy.length > 0) printLine(`next: airlift verify ${inspection.bundle} --key PUBLIC.pub`);
}

/** `airlift inspect <bundle>` */
export function addInspect(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('bundle', {
          type: 'string',
          demandOption: true,
          describe: 'bundle to inspect; - for standard input',
        })
        .options(flags),
    (args) => run(args),
  );
}
