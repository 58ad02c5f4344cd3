import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { verify, type VerifyReport } from '../index.js';
import type { CommandHead } from './command-names.js';
import { standardInputName, withBundle } from './bundle-input.js';
import { dash } from './stdin-dash.js';
import { exitCodes } from './exit-codes.js';
import { outputFlags } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { collectEarly } from './heap.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { checkBar } from './progress.js';
import { countImages } from './signatures.js';

const flags = { ...outputFlags } as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

function countVerified({ images, signatures }: VerifyReport): string {
  return countImages(images - signatures, signatures);
}

function printReport(report: VerifyReport, milliseconds: number): void {
  for (const { thing, detail, images } of report.problems) {
    printLine(`damaged: ${thing}: ${detail}`);
    for (const { reference, platforms } of images) {
      printLine(`  breaks ${reference}${platforms.length > 0 ? ` (${platforms.join(', ')})` : ''}`);
    }
  }
  const what = `${countVerified(report)}, ${count(report.blobs, 'blob')}, ${formatBytes(report.blobBytes)}`;
  if (report.ok) {
    printLine(
      `verified ${report.bundle}: ${what} in ${formatDuration(milliseconds)}, nothing lost or changed`,
    );
    printLine(`SHA256SUMS digest: ${report.sums ?? 'none'}`);
    printLine(
      'compare it with the digest that export printed: verify alone does not prove who made the bundle',
    );
    const bundle = report.bundle === standardInputName ? 'BUNDLE' : report.bundle;
    printLine(`next: airlift import ${bundle} --to HOST[:PORT]`);
    return;
  }
  printLine(`${report.bundle} is damaged: ${count(report.problems.length, 'problem')} in ${what}`);
  printLine('next: verify the bundle at its source, then copy it again');
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  collectEarly();
  const bar = args.json || args.quiet ? undefined : checkBar();
  try {
    const report = await interruptible((signal) =>
      withBundle(args.bundle, signal, (path) => verify(path, { onProgress: bar?.onProgress, signal })),
    ).then((read) => (args.bundle === dash ? { ...read, bundle: standardInputName } : read));
    bar?.stop();
    if (args.json) printJson(report);
    else printReport(report, Date.now() - started);
    if (!report.ok) process.exitCode = exitCodes.damaged;
  } finally {
    bar?.stop();
  }
}

/** `airlift verify <bundle>` */
export function addVerify(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('bundle', {
          type: 'string',
          demandOption: true,
          describe: 'bundle to verify; - for standard input',
        })
        .options(flags)
        .epilogue(
          'Exit code 4 means that the bundle is damaged; each damaged entry is listed with the images it breaks.',
        ),
    (args) => run(args),
  );
}
