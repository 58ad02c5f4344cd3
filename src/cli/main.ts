import { readFileSync } from 'node:fs';
import yargs, { type Argv } from 'yargs';
import { isAirliftError, systemCodeOf } from '../errors.js';
import { exitCodeOf, exitCodes } from './exit-codes.js';
import { addCopy } from './copy.js';
import { addExport } from './export.js';
import { addInspect } from './inspect.js';
import { addVerify } from './verify.js';
import { addImport } from './import.js';
import { dash, hideDashes } from './stdin-dash.js';
import { addIndex } from './index-command.js';
import { addListImages } from './list-images.js';
import { addLogin, addLogout } from './login.js';
import { standardError, standardOutput } from './output.js';
import { printError, printNote } from './print.js';
import { usageError } from './usage-error.js';
import { checkedValues } from './values.js';
import { addSave } from './save.js';
import { addServe } from './serve.js';

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

const commands = [
  addExport,
  addInspect,
  addVerify,
  addImport,
  addCopy,
  addSave,
  addServe,
  addIndex,
  addListImages,
  addLogin,
  addLogout,
];

/** The parser with every command, as `main` runs it and the documentation is checked against it. */
export function parser(args: readonly string[]): Argv {
  const base = checkedValues(yargs(hideDashes(args)))
    .scriptName('airlift')
    .usage('$0 <command>\n\nCarry multi-platform container images into places the network can’t reach.');
  return commands
    .reduce((all, add) => add(all), base)
    .demandCommand(1, 'name a command')
    .strict()
    .version(version())
    .help()
    .alias('help', 'h')
    .wrap(110)
    .parserConfiguration({
      'duplicate-arguments-array': true,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-positional-numbers': false,
    })
    .exitProcess(false);
}

/** Commands that do nothing but print; what others do counts, whether or not anybody reads of it. */
const printing: readonly string[] = ['inspect', 'verify', 'list-images', 'index inspect'];

function onlyPrints(args: Readonly<Record<string, unknown>> & { _: readonly (string | number)[] }): boolean {
  const isHelp = args['help'] === true || args['version'] === true;
  const isDry = args['dryRun'] === true;
  const isStream = args['output'] === dash;
  return isHelp || isDry || isStream || printing.some((name) => args._.join(' ').startsWith(name));
}

/**
 * The exit code when some of the output was lost. As with Git, a reader that has seen enough is no error to tell of. Work that was
 * done is done: its exit code stays.
 */
function codeAfterLoss(code: number, lost: string, isPrinting: boolean): number {
  if (isPrinting && code === exitCodes.done && lost === 'EPIPE') return exitCodes.readerGone;
  const why = lost === 'EPIPE' ? 'its reader is gone (EPIPE)' : `the system refused it (${lost})`;
  if (!isPrinting) {
    const outcome = code === exitCodes.done ? 'the command itself is done' : `the command ended with ${code}`;
    printNote(`warning: write standard output: ${why}; part of the output is lost, ${outcome}`);
  } else if (lost !== 'EPIPE' && code === exitCodes.done)
    printNote(`write standard output: ${why}; part of the output is lost`);
  return code === exitCodes.done && isPrinting ? exitCodes.failed : code;
}

/** Whether what failed is the writing of an archive to a standard output that nobody reads any more. */
function isReaderGone(error: unknown): boolean {
  const codes = [systemCodeOf(error), error instanceof Error ? systemCodeOf(error.cause) : undefined];
  return standardOutput.lost === 'EPIPE' && codes.includes('EPIPE');
}

/** Runs one command line. The exit code is the result; nothing is thrown. */
export async function main(args: readonly string[]): Promise<number> {
  const json = args.includes('--json');
  process.exitCode = exitCodes.done;
  let code: number;
  let isPrinting = false;
  const built = parser(args);
  try {
    const parsed = await built
      .fail((message: string | null, error: Error | undefined) => {
        if (error !== undefined) throw error;
        if (args.length === 0) built.showHelp('error');
        throw usageError(message ?? 'wrong usage', args, built);
      })
      .middleware((values) => void (isPrinting = onlyPrints(values)))
      .parseAsync();
    isPrinting = onlyPrints(parsed);
    code = process.exitCode;
  } catch (thrown) {
    // yargs throws some of what is wrong with a command line, and tells the rest.
    const isUsage = thrown instanceof Error && thrown.name === 'YError';
    const error = isUsage ? usageError(thrown.message, args, built) : thrown;
    code = exitCodeOf(isAirliftError(error) ? error.code : undefined);
    if (isPrinting && isReaderGone(error)) code = exitCodes.done;
    else printError(error, json);
  }
  await standardOutput.flush();
  await standardError.flush();
  const { lost } = standardOutput;
  return lost === undefined ? code : codeAfterLoss(code, lost, isPrinting);
}
