import { basename } from 'node:path';
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import {
  isBundleFile,
  refuseDirectory,
  verify,
  verifyFile,
  verifyVolume,
  type DeltaReport,
  type Problem,
  type VerifyReport,
  type VolumeReport,
} from '../index.js';
import { AirliftError } from '../errors.js';
import { ownFlagsFirst } from './access-flags.js';
import type { CommandHead } from './command-names.js';
import { standardInputName, withBundle, withInputName } from './bundle-input.js';
import { dash } from './stdin-dash.js';
import { baseLines } from './delta.js';
import { exitCodes } from './exit-codes.js';
import { outputFlags, volumeDirFlag } from './flags.js';
import { count, describeBroken, formatBytes, formatDuration } from './format.js';
import { collectEarly } from './heap.js';
import { interruptible } from './interrupt.js';
import { describePart } from './parts.js';
import { printJson, printLine } from './print.js';
import { checkBar } from './progress.js';
import { countImages, imageSignatureLines, signedLines } from './signatures.js';
import { printDeep } from './verify-deep.js';
import { namesOf, rejectUnused } from './unused-flags.js';
import { againstFlags, signerFlags, signerOptionsOf } from './verify-flags.js';

const flags = {
  key: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'public key, or directory of them, of which one must have signed the file',
  },
  request: {
    type: 'string',
    requiresArg: true,
    describe: 'file to list damaged and missing blobs in, for export --request',
  },
  base: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'bundle that has layers which a delta leaves out; verify both together',
  },
  ...volumeDirFlag,
  ...signerFlags,
  quick: {
    type: 'boolean',
    default: false,
    describe: 'do not hash layers: check structure, catalog, sizes, manifests, signature',
  },
  deep: {
    type: 'boolean',
    default: false,
    describe: 'unpack layers, too: check diff_ids, tar archives, paths, platforms of programs',
  },
  ...againstFlags,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

function countVerified({ images, signatures }: VerifyReport): string {
  return countImages(images - signatures, signatures);
}

/** Prints what was verified of the layers that a delta leaves out. */
function printDelta({ bases, blobs, bytes, unseenBlobs }: DeltaReport, bundle: string): void {
  const what = `${count(blobs, 'layer')} (${formatBytes(bytes)})`;
  printLine(
    unseenBlobs > 0
      ? `a delta: it leaves out ${what}, which this check cannot see`
      : `a delta: the base has the ${what} that it leaves out`,
  );
  baseLines(bases).forEach(printLine);
  if (unseenBlobs > 0)
    printLine(
      `  airlift verify ${bundle} --base OLD.tar sees them; import looks for each of them before it pushes anything`,
    );
}

function printProblems(problems: readonly Problem[]): void {
  for (const { kind, thing, detail, images } of problems) {
    const what = kind === 'signature' ? 'refused' : kind === 'layer' ? 'wrong' : 'damaged';
    printLine(`${what}: ${thing}: ${detail}`);
    images.map(describeBroken).forEach(printLine);
  }
}

function printVolumeReport(report: VolumeReport, milliseconds: number): void {
  printProblems(report.problems);
  const { volume, number, volumes, size, list, ok } = report;
  if (!ok) {
    printLine(`${volume} is damaged: volume ${number} of ${volumes}`);
    printLine('next: copy only this volume again');
    return;
  }
  printLine(
    `verified ${volume}: volume ${number} of ${volumes}, ${formatBytes(size)} in ${formatDuration(milliseconds)}, as ${list} lists it`,
  );
  printLine(`next: airlift verify ${list} verifies all volumes together`);
}

function printReport(report: VerifyReport, milliseconds: number): void {
  for (const base of report.bases) printReport(base, milliseconds);
  printProblems(report.problems);
  if (report.deep !== undefined) printDeep(report.deep);
  const damaged = report.problems.filter(({ kind }) => kind === 'volume').map(({ thing }) => thing);
  const checked = `${countVerified(report)}, ${count(report.blobs, 'blob')}, ${formatBytes(report.blobBytes)}`;
  const result = report.quick ? 'layers not hashed' : 'nothing lost or changed';
  if (report.ok) {
    printLine(`verified ${report.bundle}: ${checked} in ${formatDuration(milliseconds)}, ${result}`);
    (report.imageSignatures ?? []).flatMap(imageSignatureLines).forEach(printLine);
    printLine(`SHA256SUMS digest: ${report.sums ?? 'none'}`);
    signedLines(report.signedBy).forEach(printLine);
    if (!report.signedBy.some(({ state }) => state === 'valid'))
      printLine(
        report.signedBy.length > 0
          ? 'check who made the bundle with --key PUBLIC.pub'
          : 'compare it with the digest that export printed: verify alone does not prove who made the bundle',
      );
    if (report.delta !== undefined) printDelta(report.delta, report.bundle);
    if (report.part !== undefined) printLine(describePart(report.part));
    const bundle = report.bundle === standardInputName ? 'BUNDLE' : report.bundle;
    printLine(`next: airlift import ${bundle} --to HOST[:PORT]`);
    return;
  }
  if (report.problems.length === 0)
    return printLine(`${report.bundle}: ${checked}, undamaged, but a base is damaged`);
  if (report.problems.every(({ kind }) => kind === 'signature')) {
    printLine(`${report.bundle}: a required signature is missing; ${checked}, ${result}`);
    printLine('next: ask who made the bundle for its signature and public key, and import nothing before');
    return;
  }
  if (report.problems.every(({ kind }) => kind === 'layer')) {
    printLine(
      `${report.bundle}: ${count(report.problems.length, 'problem')} in images; no byte was lost or changed since the export`,
    );
    printLine('next: ask the publishers of these images, or leave the images out and export again');
    return;
  }
  const found = report.blobs === 0 ? '' : ` in ${checked}`;
  printLine(`${report.bundle} is damaged: ${count(report.problems.length, 'problem')}${found}`);
  if (damaged.length > 0 && report.request === undefined) {
    printLine(`next: copy only ${damaged.join(', ')} again, and verify`);
    return;
  }
  if (report.request === undefined) {
    printLine('next: verify the bundle at its source, then copy it again');
    printLine(`or run airlift verify ${report.bundle} --request site.request to list what to bring again`);
    return;
  }
  const { path, blobs, bytes, head } = report.request;
  const needed = [
    head ? 'the head of the bundle' : '',
    blobs > 0 ? `${count(blobs, 'blob')} of ${formatBytes(bytes)}` : '',
  ];
  const what = needed.filter((text) => text !== '').join(' and ');
  if (what === '') {
    printLine('no blob is damaged: repair needs no other file');
    printLine(`next: airlift repair ${report.bundle}`);
    return;
  }
  printLine(`wrote ${path}: it asks for ${what}`);
  if (head)
    printLine(
      `first run airlift repair ${report.bundle}: it rebuilds the catalog if all manifests are whole`,
    );
  printLine(`next: where the registries are, airlift export --request ${basename(path)} -o repair.tar`);
  printLine(`then here: airlift repair ${report.bundle} --from repair.tar`);
}

/** Checks the signature of a file that is no bundle. */
async function runOnFile(path: string, keys: readonly string[], json: boolean): Promise<void> {
  const result = await verifyFile(path, keys);
  if (json) printJson(result);
  else {
    printLine(`${path}: ${result.digest}`);
    if (result.signedBy.length === 0)
      printLine(`refused: ${path}: not signed; want ${path}.minisig beside it`);
    signedLines(result.signedBy).forEach(printLine);
    printLine(
      result.ok
        ? `verified ${path}: signed by a given key`
        : `${path}: no valid signature by ${keys.join(', ')}`,
    );
  }
  if (!result.ok) process.exitCode = exitCodes.damaged;
}

/** The checks of the content of a bundle. */
const checkFlags = ['quick', 'deep', 'request', 'base', ...namesOf(signerFlags)] as const;

/**
 * Rejects flags that have no effect: those of a registry without `--against`, and those of the checks of a bundle with it.
 * @throws AirliftError `usage`
 */
function rejectUnusedFlags(args: Arguments): void {
  const hint = 'airlift verify site.tar --against HOST[:PORT]';
  if (args.against === undefined) {
    const unused = namesOf(againstFlags).filter((name) => name !== 'against');
    return rejectUnused(args, flags, unused, {
      when: 'verify',
      problem: 'applies only with --against',
      hint,
    });
  }
  if (args.bundle === dash)
    throw new AirliftError('usage', 'verify: --against needs a bundle in a file', { hint });
  rejectUnused(args, flags, checkFlags, {
    when: 'verify',
    problem: 'cannot be combined with --against',
    hint,
  });
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  if (args.request !== undefined) await refuseDirectory(args.request, '--request', 'site.request');
  collectEarly();
  const { key: keys, against } = args;
  rejectUnusedFlags(args);
  if (against !== undefined) {
    // Loads the registry client only if it is needed.
    const { runAgainst } = await import('./verify-against.js');
    return await runAgainst(args.bundle, against, args);
  }
  if (keys !== undefined && args.bundle !== dash && !(await isBundleFile(args.bundle, args.volumeDir))) {
    rejectUnused(args, flags, [...checkFlags, 'volume-dir'], {
      when: `verify ${args.bundle}`,
      problem: 'applies only to bundles',
    });
    return await runOnFile(args.bundle, keys, args.json);
  }
  const signers = signerOptionsOf(args);
  const bar = args.json || args.quiet ? undefined : checkBar();
  try {
    const volumeDirs = args.volumeDir;
    // Signatures and requests are about the whole bundle.
    const volume =
      keys === undefined &&
      args.request === undefined &&
      args.base === undefined &&
      !Object.values(signers).some((value) => value !== undefined) &&
      !args.quick &&
      !args.deep
        ? await interruptible((signal) =>
            verifyVolume(args.bundle, { volumeDirs, onProgress: bar?.onProgress, signal }),
          )
        : undefined;
    if (volume !== undefined) {
      bar?.stop();
      if (args.json) printJson(volume);
      else printVolumeReport(volume, Date.now() - started);
      if (!volume.ok) process.exitCode = exitCodes.damaged;
      return;
    }
    const report = await interruptible((signal) =>
      withBundle(args.bundle, signal, (path) =>
        verify(path, {
          keys,
          volumeDirs,
          base: args.base,
          request: args.request,
          quick: args.quick,
          deep: args.deep,
          ...signers,
          onProgress: bar?.onProgress,
          signal,
        }),
      ),
    ).then((read) => withInputName(args.bundle, read));
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
      ownFlagsFirst(yargs)
        .positional('bundle', {
          type: 'string',
          demandOption: true,
          describe: 'bundle, list of volumes, one volume, or with --key any signed file; - for stdin',
        })
        .options(flags)
        .epilogue(
          'Exit code 4 means that the bundle is damaged, or not signed by the given key; each damaged entry is listed with the images it breaks.',
        ),
    (args) => run(args),
  );
}
