import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { login, logout, parseLoginName } from '../index.js';
import type { CommandHead } from './command-names.js';
import { ownFlagsFirst, accessFlags, type RegistryArguments } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { jsonFlag } from './flags.js';
import { authFilesOf, dockerAuthFileOf } from './environment.js';
import { interruptible } from './interrupt.js';
import { readPassword } from './password.js';
import { printJson, printLine } from './print.js';
import { hooksOf } from './trace.js';

const loginFlags = {
  username: { alias: 'u', type: 'string', requiresArg: true, describe: 'user name (default: ask)' },
  'password-stdin': {
    type: 'boolean',
    default: false,
    describe: 'read the password from standard input instead of asking',
  },
  ...jsonFlag,
  ...accessFlags,
} as const satisfies Record<string, Options>;

const logoutFlags = { authfile: accessFlags.authfile, ...jsonFlag } as const satisfies Record<
  string,
  Options
>;

interface RegistryPositional {
  readonly registry: string;
}

type LoginArguments = ArgumentsCamelCase<InferredOptionTypes<typeof loginFlags>> & RegistryPositional;
type LogoutArguments = ArgumentsCamelCase<InferredOptionTypes<typeof logoutFlags>> & RegistryPositional;

/** Finds the files to look for a login in, and the file to create for a first login. */
function filesOf(authfile: string | undefined): { authFiles: string[]; newAuthFile: string | undefined } {
  const explicit = authfile ?? process.env['REGISTRY_AUTH_FILE'];
  if (explicit !== undefined && explicit !== '') return { authFiles: [explicit], newAuthFile: explicit };
  return { authFiles: authFilesOf(process.env), newAuthFile: dockerAuthFileOf(process.env) };
}

async function runLogin(args: LoginArguments): Promise<void> {
  const registry = parseLoginName(args.registry);
  const reaching: RegistryArguments = { ...args, creds: undefined };
  const access = await registryOptionsOf(reaching, process.env, [registry]);
  const { username, place } = await interruptible(async (signal) => {
    const { username, password } = await readPassword(args.username, args.passwordStdin, signal);
    const user = { registry, username, password };
    return {
      username,
      place: await login({ ...user, ...filesOf(args.authfile), access, hooks: hooksOf(args), signal }),
    };
  });
  if (args.json) printJson({ registry, username, ...place });
  else
    printLine(
      `logged in to ${registry} as ${username}; credentials stored in ${place.helper ?? place.authFile}`,
    );
}

async function runLogout(args: LogoutArguments): Promise<void> {
  const registry = parseLoginName(args.registry);
  const places = await logout(registry, filesOf(args.authfile).authFiles);
  if (args.json) printJson({ registry, places });
  else
    for (const { authFile, helper } of places)
      printLine(`logged out of ${registry} in ${helper ?? authFile}`);
}

const registryPositional = {
  type: 'string',
  default: 'docker.io',
  describe: 'registry: HOST[:PORT][/NAMESPACE]',
} as const;

/** `airlift login [registry]` */
export function addLogin(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(yargs.positional('registry', registryPositional))
        .options(loginFlags)
        .example('$0 login ghcr.io -u me --password-stdin < token.txt', 'also logs in docker and podman'),
    (args) => runLogin(args),
  );
}

/** `airlift logout [registry]` */
export function addLogout(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) => yargs.positional('registry', registryPositional).options(logoutFlags),
    (args) => runLogout(args),
  );
}
