import yargs, { type Argv } from 'yargs';
import { isAirliftError, systemCodeOf } from '../errors.js';
import type { CommandHead } from './command-names.js';
import { exitCodeOf, exitCodes } from './exit-codes.js';
import { dash, hideDashes } from './stdin-dash.js';
import { standardError, standardOutput } from './output.js';
import { printError, printNote } from './print.js';
import { forgetPrinted } from './trace.js';
import { usageError } from './usage-error.js';
import { checkedValues } from './values.js';
import { version } from './version.js';

interface Command extends CommandHead {
  /** Loads the function that adds the command with its flags to a parser. */
  readonly load: () => Promise<(parser: Argv, head: CommandHead) => Argv>;
}

const commands: readonly Command[] = [
  {
    usage: 'export [references..]',
    describe: 'pull images from registries into one bundle file',
    load: async () => (await import('./export.js')).addExport,
  },
  {
    usage: 'inspect <bundle>',
    describe: 'list the images, platforms and sizes in a bundle',
    load: async () => (await import('./inspect.js')).addInspect,
  },
  {
    usage: 'verify <bundle>',
    describe: 'check that nothing in a bundle was lost or changed',
    load: async () => (await import('./verify.js')).addVerify,
  },
  {
    usage: 'repair <bundle>',
    describe: 'replace what is damaged or missing in a bundle, in place',
    load: async () => (await import('./repair.js')).addRepair,
  },
  {
    usage: 'stow <bundle> <directory>',
    describe: 'copy a bundle to a medium, and read it back past the cache',
    load: async () => (await import('./stow.js')).addStow,
  },
  {
    usage: 'keygen',
    describe: 'create a key pair for signing bundles',
    load: async () => (await import('./keygen.js')).addKeygen,
  },
  {
    usage: 'sign <file>',
    describe: 'sign a bundle or another file',
    load: async () => (await import('./sign.js')).addSign,
  },
  {
    usage: 'report <bundle>',
    describe: 'write what a bundle contains as a page for people, or for other programs',
    load: async () => (await import('./report.js')).addReport,
  },
  {
    usage: 'split <bundle>',
    describe: 'copy a bundle into volumes, for media that hold no file of its size',
    load: async () => (await import('./split.js')).addSplit,
  },
  {
    usage: 'join <bundle>',
    describe: 'join the volumes of a bundle to one file',
    load: async () => (await import('./join.js')).addJoin,
  },
  {
    usage: 'merge <bundles..>',
    describe: 'merge bundles, or deltas with their bases, into one full bundle',
    load: async () => (await import('./merge.js')).addMerge,
  },
  {
    usage: 'import <inputs..>',
    describe: 'publish the images of a bundle or of image archives to a registry',
    load: async () => (await import('./import.js')).addImport,
  },
  {
    usage: 'copy [references..]',
    describe: 'copy images from registries to another registry',
    load: async () => (await import('./copy.js')).addCopy,
  },
  {
    usage: 'save <sources..>',
    describe: 'write images to files that docker, podman, skopeo or k3s can load',
    load: async () => (await import('./save.js')).addSave,
  },
  {
    usage: 'load <inputs..>',
    describe: 'load the images of a bundle or of image archives into a container engine',
    load: async () => (await import('./load.js')).addLoad,
  },
  {
    usage: 'serve [inputs..]',
    describe: 'serve bundles and archives, or a directory, as a registry',
    load: async () => (await import('./serve.js')).addServe,
  },
  {
    usage: 'prune <directory>',
    describe: 'remove what no tag reaches from the directory of a served registry',
    load: async () => (await import('./prune.js')).addPrune,
  },
  {
    usage: 'inventory <registry>',
    describe: 'write a receipt of the images that a registry holds, for export --base',
    load: async () => (await import('./inventory.js')).addInventory,
  },
  {
    usage: 'diff <from> <to>',
    describe: 'compare two bundles or receipts: images, tags, new blobs',
    load: async () => (await import('./diff.js')).addDiff,
  },
  {
    usage: 'index',
    describe: 'create and edit image indexes',
    load: async () => (await import('./index-command.js')).addIndex,
  },
  {
    usage: 'kit',
    describe: 'write airlift to a medium for machines that have nothing installed',
    load: async () => (await import('./kit.js')).addKit,
  },
  {
    usage: 'list-images <lists..>',
    describe: 'print the images named in image lists, Kubernetes YAML or compose files',
    load: async () => (await import('./list-images.js')).addListImages,
  },
  {
    usage: 'login [registry]',
    describe: 'store a user name and password for a registry',
    load: async () => (await import('./login.js')).addLogin,
  },
  {
    usage: 'logout [registry]',
    describe: 'remove the stored user name and password of a registry',
    load: async () => (await import('./login.js')).addLogout,
  },
];

/**
 * Keeps yargs from laying out the help text of a command that runs: it would do so to show the text if the command fails, which
 * airlift never does. Measuring the width of a long help text takes 30 ms, as long as small commands take.
 */
function skipHelpOfRunningCommand(parser: Argv): void {
  type Usage = { cacheHelpMessage: () => void };
  const internals = parser as unknown as { getInternalMethods(): { getUsageInstance(): Usage } };
  internals.getInternalMethods().getUsageInstance().cacheHelpMessage = () => undefined;
}

/**
 * Builds the parser for a command line. Loads only the commands that `args` name: loading the library takes several times as long
 * as `--version` and `--help` take.
 */
export async function parser(args: readonly string[]): Promise<Argv> {
  const base = checkedValues(yargs(hideDashes(args)))
    .scriptName('airlift')
    // Otherwise the headings of help texts follow LANG, but nothing else does.
    .detectLocale(false)
    .usage('$0 <command>\n\nCarry multi-platform container images into air-gapped networks.');
  for (const { load, ...head } of commands) {
    const [name = ''] = head.usage.split(' ');
    if (args.includes(name)) (await load())(base, head);
    else base.command(head.usage, head.describe);
  }
  skipHelpOfRunningCommand(base);
  return base
    .demandCommand(1, 'want a command')
    .strict()
    .version('version', 'print the version', version())
    .help('help', 'print this help')
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

/** Commands whose only result is their output. */
const printingCommands: readonly string[] = ['inspect', 'diff', 'verify', 'list-images', 'index inspect'];

function onlyPrints(args: Readonly<Record<string, unknown>> & { _: readonly (string | number)[] }): boolean {
  const isHelp = args['help'] === true || args['version'] === true;
  const isDry = args['dryRun'] === true;
  const isStream = args['output'] === dash;
  return isHelp || isDry || isStream || printingCommands.some((name) => args._.join(' ').startsWith(name));
}

/**
 * Returns the exit code after a loss of output, and prints a warning. As in Git, a printing command whose reader has gone prints
 * none. A command that did other work keeps its exit code.
 */
function codeAfterLoss(code: number, lost: string, isPrinting: boolean): number {
  if (isPrinting && code === exitCodes.done && lost === 'EPIPE') return exitCodes.readerGone;
  const why = lost === 'EPIPE' ? 'the reader closed it (EPIPE)' : `the system rejected the write (${lost})`;
  if (!isPrinting) {
    const outcome =
      code === exitCodes.done ? 'the command itself succeeded' : `the command ended with exit code ${code}`;
    printNote(`warning: write standard output: ${why}; part of the output is lost, ${outcome}`);
  } else if (lost !== 'EPIPE' && code === exitCodes.done)
    printNote(`write standard output: ${why}; part of the output is lost`);
  return code === exitCodes.done && isPrinting ? exitCodes.failed : code;
}

/** Reports whether `error` comes from writing an archive to a closed standard output. */
function isReaderGone(error: unknown): boolean {
  const codes = [systemCodeOf(error), error instanceof Error ? systemCodeOf(error.cause) : undefined];
  return standardOutput.lost === 'EPIPE' && codes.includes('EPIPE');
}

/**
 * Runs one command line and returns the exit code; never throws.
 * @param given the parser for `args`, if the caller has built it already
 */
export async function main(args: readonly string[], given?: Argv): Promise<number> {
  const built = given ?? (await parser(args));
  const json = args.includes('--json');
  process.exitCode = exitCodes.done;
  forgetPrinted();
  let code: number;
  let isPrinting = false;
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
    // yargs reports some usage errors through `fail` and throws others.
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
