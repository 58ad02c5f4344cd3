import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import {
  formatReport,
  reportFormats,
  reportOn,
  verify,
  writeReport,
  type FormatReportOptions,
  type Report,
} from '../index.js';
import { withBundle, withInputName } from './bundle-input.js';
import type { CommandHead } from './command-names.js';
import { exitCodes } from './exit-codes.js';
import { outputFlags } from './flags.js';
import { count } from './format.js';
import { interruptible } from './interrupt.js';
import { standardOutput } from './output.js';
import { printJson, printLine, printNote } from './print.js';
import { checkBar } from './progress.js';
import { showDashes } from './stdin-dash.js';
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
  verify: {
    type: 'boolean',
    default: true,
    describe: 'verify the bundle and state the result; reads all of it',
  },
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { bundle: string }>;

async function run(args: Arguments): Promise<void> {
  const [output = args.output] = showDashes([args.output]);
  const bar = args.json || args.quiet ? undefined : checkBar();
  try {
    const { report, options } = await interruptible((signal) =>
      withBundle(
        args.bundle,
        signal,
        async (path): Promise<{ report: Report; options: FormatReportOptions }> => {
          const verified = args.verify
            ? await verify(path, { onProgress: bar?.onProgress, signal })
            : undefined;
          bar?.stop();
          const found = await reportOn(path, { signal });
          return {
            report: withInputName(args.bundle, found),
            options: {
              format: args.format,
              verified: verified === undefined ? undefined : withInputName(args.bundle, verified),
              version: version(),
            },
          };
        },
      ),
    );
    if (output === '-') for (const text of formatReport(report, options)) standardOutput.write(text);
    else {
      await writeReport(report, output, options);
      const summary = `wrote ${output}: ${count(report.images.length, 'image')}, ${count(report.packages.length, 'package')}`;
      if (args.json)
        printJson({ output, format: args.format, images: report.images.length, notes: report.notes });
      else printLine(summary);
    }
    for (const note of report.notes) printNote(`warning: ${note}`);
    if (options.verified?.ok === false) {
      printNote(`${report.bundle} is damaged: the report lists what is wrong`);
      process.exitCode = exitCodes.damaged;
    }
  } finally {
    bar?.stop();
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
          describe: 'bundle to report on; - for standard input',
        })
        .options(flags)
        .epilogue(
          'The page needs no network and no other file. Exit code 4 means that the bundle is damaged; the report is written all the same.',
        ),
    (args) => run(args),
  );
}
