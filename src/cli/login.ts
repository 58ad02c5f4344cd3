import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { login, logout, parseLoginName } from '../index.js';
import type { CommandHead } from './command-names.js';
import { ownFlagsFirst, registryOptionsOf, reachingFlags, type RegistryArguments } from './registry-flags.js';
import { authFilesOf, dockerAuthFileOf } from './environment.js';
import { interruptible } from './interrupt.js';
import { readPassword } from './password.js';
import { printJson, printLine } from './print.js';
import { hooksOf } from './trace.js';

const jsonFlag = {
  json: { type: 'boolean', default: false, describe: 'print JSON on standard output, and nothing else' },
} as const satisfies Record<string, Options>;

const loginFlags = {
  username: { alias: 'u', type: 'string', requiresArg: true, describe: 'user name; asked for unless told' },
  'password-stdin': {
    type: 'boolean',
    default: false,
    describe: 'read the password from standard input instead of asking for it',
  },
  ...jsonFlag,
  ...reachingFlags,
} as const satisfies Record<string, Options>;

const logoutFlags = { authfile: reachingFlags.authfile, ...jsonFlag } as const satisfies Record<
  string,
  Options
>;

interface Named {
  readonly registry?: string | undefined;
}

type LoginArguments = ArgumentsCamelCase<InferredOptionTypes<typeof loginFlags>> & Named;
type LogoutArguments = ArgumentsCamelCase<InferredOptionTypes<typeof logoutFlags>> & Named;

/** Where a login is looked for, and where a first one goes. */
function filesOf(authfile: string | undefined): { authFiles: string[]; newAuthFile: string | undefined } {
  const told = authfile ?? process.env['REGISTRY_AUTH_FILE'];
  if (told !== undefined && told !== '') return { authFiles: [told], newAuthFile: told };
  return { authFiles: authFilesOf(process.env), newAuthFile: dockerAuthFileOf(process.env) };
}

async function runLogin(args: LoginArguments): Promise<void> {
  const registry = parseLoginName(args.registry ?? 'docker.io');
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
  else printLine(`logged in to ${registry} as ${username}; kept in ${place.helper ?? place.authFile}`);
}

async function runLogout(args: LogoutArguments): Promise<void> {
  const registry = parseLoginName(args.registry ?? 'docker.io');
  const places = await logout(registry, filesOf(args.authfile).authFiles);
  if (args.json) printJson({ registry, places });
  else
    for (const { authFile, helper } of places)
      printLine(`logged out of ${registry} in ${helper ?? authFile}`);
}

const registryPositional = {
  type: 'string',
  describe: 'HOST[:PORT][/NAMESPACE]; docker.io unless told',
} as const;

/** `airlift login [registry]` */
export function addLogin(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(yargs.positional('registry', registryPositional))
        .options(loginFlags)
        .example('$0 login ghcr.io -u me --password-stdin < token.txt', 'docker and podman find it too'),
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
