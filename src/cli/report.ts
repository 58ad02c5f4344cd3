import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import {
  formatReport,
  isBundleFile,
  isReceipt,
  reportFormats,
  reportOn,
  reportOnReceipt,
  signersOf,
  verify,
  writeReport,
  type FormatReportOptions,
  type ReceiptReport,
  type Report,
  type VerifyReport,
} from '../index.js';
import { withBundle, withInputName } from './bundle-input.js';
import type { CommandHead } from './command-names.js';
import { exitCodes } from './exit-codes.js';
import { outputFlags, volumeDirFlag } from './flags.js';
import { count } from './format.js';
import { interruptible } from './interrupt.js';
import { nameFlags } from './name-flags.js';
import { namingOf } from './names.js';
import { standardOutput } from './output.js';
import { printJson, printLine, printNote } from './print.js';
import { checkBar } from './progress.js';
import { dash, showDashes } from './stdin-dash.js';
import { rejectUnused } from './unused-flags.js';
import { version } from './version.js';

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'file to write; - for standard output',
  },
  format: {
    choices: reportFormats,
    default: 'html' as const,
    describe: 'a page for people, or data for programs',
  },
  base: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'earlier bundle, its catalog, or a receipt: say what is new since',
  },
  key: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'public key, or directory of them, of which one must have signed the file',
  },
  'cosign-key': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'public key of cosign, or directory of them, that must have signed each image',
  },
  verify: {
    type: 'boolean',
    default: true,
    describe: 'verify the bundle and state the result; reads all of it',
  },
  ...volumeDirFlag,
  'keep-registry': nameFlags['keep-registry'],
  rename: nameFlags.rename,
  'rename-map': nameFlags['rename-map'],
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

type Naming = Awaited<ReturnType<typeof namingOf>>;

/** Selects the bases that can prove what a delta leaves out: bundles, and not catalogs or receipts. */
async function bundlesIn(bases: readonly string[]): Promise<string[]> {
  const bundles: string[] = [];
  for (const base of bases) if (!(await isReceipt(base)) && (await isBundleFile(base))) bundles.push(base);
  return bundles;
}

interface Made {
  readonly report: Report | ReceiptReport;
  readonly verified?: VerifyReport | undefined;
}

async function reportOnBundle(args: Arguments, naming: Naming): Promise<Made> {
  const { base, key: keys, cosignKey: cosignKeys, volumeDir: volumeDirs } = args;
  const bar = args.json || args.quiet ? undefined : checkBar();
  try {
    return await interruptible((signal) =>
      withBundle(args.bundle, signal, async (path): Promise<Made> => {
        // The report first: it is quick, and finds mistakes in the flags.
        const report = await reportOn(path, { base, naming, keys, cosignKeys, volumeDirs, signal });
        const bases = report.delta === undefined ? [] : await bundlesIn(base ?? []);
        const verified = args.verify
          ? await verify(path, {
              base: bases,
              keys,
              cosignKeys,
              volumeDirs,
              onProgress: bar?.onProgress,
              signal,
            })
          : undefined;
        return {
          report: withInputName(args.bundle, report),
          verified: verified === undefined ? undefined : withInputName(args.bundle, verified),
        };
      }),
    );
  } finally {
    bar?.stop();
  }
}

/** @throws AirliftError `usage` for flags that apply only to bundles */
async function reportOnList(args: Arguments, naming: Naming): Promise<Made> {
  const { base, key: keys } = args;
  rejectUnused(args, flags, ['cosign-key', 'volume-dir'], {
    when: 'report',
    problem: `applies only to bundles, and ${args.bundle} is a receipt`,
    hint: `airlift report ${args.bundle} -o ${args.output}`,
  });
  return {
    report: await interruptible((signal) => reportOnReceipt(args.bundle, { base, naming, keys, signal })),
  };
}

/** Describes why the file must not be used; undefined if nothing is wrong with it. */
function refusalOf({ report, verified }: Made, { key, cosignKey }: Arguments): string | undefined {
  const name = report.kind === 'bundle' ? report.bundle : report.receipt;
  const isOnlyUnsigned = verified?.problems.every(({ kind }) => kind === 'signature') === true;
  if (verified?.ok === false && !(isOnlyUnsigned && verified.bases.every(({ ok }) => ok)))
    return `${name} is damaged: the report lists what is wrong`;
  if (key !== undefined && !report.signedBy.some(({ state }) => state === 'valid'))
    return `${name} has no valid signature by ${key.join(', ')}`;
  if (cosignKey === undefined || report.kind !== 'bundle') return undefined;
  const unsigned = report.images.filter((image) => signersOf(image).length === 0);
  return unsigned.length === 0
    ? undefined
    : `${name}: ${count(unsigned.length, 'image')} without a signature by ${cosignKey.join(', ')}`;
}

function describe(report: Report | ReceiptReport): string {
  return report.kind === 'bundle'
    ? `${count(report.images.length, 'image')}, ${count(report.packages.length, 'package')}`
    : `${count(report.images, 'image')} of ${report.registry ?? 'several registries'}`;
}

async function run(args: Arguments): Promise<void> {
  const [output = args.output] = showDashes([args.output]);
  if (args.base === undefined)
    rejectUnused(args, flags, ['keep-registry', 'rename', 'rename-map'], {
      when: 'report',
      problem: 'applies only with --base',
    });
  const naming = await namingOf(args);
  const isList = args.bundle !== dash && (await isReceiptFile(args.bundle));
  const made = isList ? await reportOnList(args, naming) : await reportOnBundle(args, naming);
  const { report, verified } = made;
  const options: FormatReportOptions = { format: args.format, verified, version: version() };
  const notes = report.kind === 'bundle' ? report.notes : [];
  if (output === '-') for (const text of formatReport(report, options)) standardOutput.write(text);
  else {
    await writeReport(report, output, options);
    const images = report.kind === 'bundle' ? report.images.length : report.images;
    if (args.json) printJson({ output, format: args.format, images, notes: report.notes });
    else printLine(`wrote ${output}: ${describe(report)}`);
  }
  for (const note of notes) printNote(`warning: ${note}`);
  const refusal = refusalOf(made, args);
  if (refusal === undefined) return;
  printNote(refusal);
  process.exitCode = exitCodes.damaged;
}

/** Reports whether a file is a receipt; a path of volumes need not be a file. */
async function isReceiptFile(path: string): Promise<boolean> {
  try {
    return await isReceipt(path);
  } catch {
    return false;
  }
}

/** `airlift report <bundle>` */
export function addReport(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('bundle', {
          type: 'string',
          demandOption: true,
          describe: 'bundle or receipt to report on; - for a bundle on standard input',
        })
        .options(flags)
        .example('$0 report june.tar --base may.tar -o june.html', 'with what is new since May')
        .example('$0 report site.receipt -o site.html', 'the images in a registry')
        .epilogue(
          'The page needs no network and no other file. Exit code 4 means that the bundle is damaged, or not signed by the given key; the report is written all the same.',
        ),
    (args) => run(args),
  );
}
