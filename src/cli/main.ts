import { readFileSync } from 'node:fs';
import yargs, { type Argv } from 'yargs';
import { AirliftError, isAirliftError } from '../errors.js';
import { exitCodeOf, exitCodes } from './exit-codes.js';
import { addCopy } from './copy.js';
import { addExport } from './export.js';
import { addInspect } from './inspect.js';
import { addVerify } from './verify.js';
import { addImport } from './import.js';
import { hideDashes } from './dash.js';
import { addIndex } from './index-command.js';
import { addListImages } from './list-images.js';
import { addLogin, addLogout } from './login.js';
import { printError } from './print.js';
import { lastOfRepeated } from './repeated.js';
import { addSave } from './save.js';
import { addServe } from './serve.js';

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Every command, in the order in which they are used. */
export const commandNames = [
  'export',
  'inspect',
  'verify',
  'import',
  'copy',
  'save',
  'serve',
  'index',
  'index create',
  'index append',
  'index remove',
  'index merge',
  'index inspect',
  'list-images',
  'login',
  'logout',
] as const;

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
  const base = lastOfRepeated(yargs(hideDashes(args)))
    .scriptName('airlift')
    .usage('$0 <command>\n\nCarry multi-platform container images into places the network can’t reach.');
  return commands
    .reduce((all, add) => add(all), base)
    .demandCommand(1, 'name a command')
    .recommendCommands()
    .strict()
    .version(version())
    .help()
    .alias('help', 'h')
    .wrap(110)
    .parserConfiguration({
      'duplicate-arguments-array': true,
      'greedy-arrays': false,
      'parse-positional-numbers': false,
    })
    .exitProcess(false);
}

/** Runs one command line. The exit code is the result; nothing is thrown. */
export async function main(args: readonly string[]): Promise<number> {
  const json = args.includes('--json');
  process.exitCode = exitCodes.done;
  try {
    await parser(args)
      .fail((message: string | null, error: Error | undefined, self) => {
        if (error !== undefined) throw error;
        self.showHelp('error');
        throw new AirliftError('usage', message ?? 'wrong usage');
      })
      .parseAsync();
    return process.exitCode;
  } catch (error) {
    printError(error, json);
    return exitCodeOf(isAirliftError(error) ? error.code : undefined);
  }
}
