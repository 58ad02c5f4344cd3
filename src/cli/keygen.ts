import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { keygen, refuseDirectory, refuseExistingKeys } from '../index.js';
import type { CommandHead } from './command-names.js';
import { jsonFlag } from './flags.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { newKeyPassword } from './signing-key.js';

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'file for the secret key; the public key gets the suffix .pub',
  },
  type: {
    choices: ['minisign', 'ecdsa-p256'] as const,
    default: 'minisign' as const,
    describe: 'minisign: Ed25519; ecdsa-p256: for openssl, cosign and FIPS hosts',
  },
  unencrypted: {
    alias: 'W',
    type: 'boolean',
    default: false,
    describe: 'write the secret key without a password',
  },
  ...jsonFlag,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags>>;

async function run(args: Arguments): Promise<void> {
  const { output, type } = args;
  await refuseDirectory(output, '-o', 'export.key');
  await refuseExistingKeys(output);
  const summary = await interruptible(async (signal) => {
    const password = args.unencrypted ? undefined : await newKeyPassword(signal);
    return await keygen({ output, type, password });
  });
  if (args.json) return printJson(summary);
  printLine(`created key ${summary.keyId}`);
  printLine(`secret key: ${summary.secretKey}; keep it where only you can read it`);
  printLine(`public key: ${summary.publicKey}; hand it to the site in person, not with the bundle`);
  printLine(
    type === 'minisign'
      ? `next: airlift export --images list.txt -o site.tar --sign ${summary.secretKey}`
      : `next: airlift sign site.tar --key ${summary.secretKey}`,
  );
}

/** `airlift keygen` */
export function addKeygen(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .options(flags)
        .example('$0 keygen -o export.key', 'write export.key and export.pub, which minisign reads too')
        .epilogue('AIRLIFT_KEY_PASSWORD_FILE names a file with the password; otherwise airlift asks for it.'),
    (args) => run(args),
  );
}
