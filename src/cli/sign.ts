import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { signFile, type SignOptions, type SignSummary } from '../index.js';
import type { CommandHead } from './command-names.js';
import { creationTime } from './environment.js';
import { forceFlag, jsonFlag } from './flags.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { openSigningKey } from './signing-key.js';
import { version } from './version.js';

const flags = {
  key: {
    type: 'string',
    requiresArg: true,
    describe: 'secret key: of airlift keygen, of minisign, or in PEM',
  },
  'sign-with': {
    type: 'string',
    requiresArg: true,
    describe: 'program that reads the content and prints a signature: smart card, KMS, gpg',
  },
  'check-with': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'public key that must accept the new signature before it is written',
  },
  name: { type: 'string', requiresArg: true, describe: 'who signs, for one of several signatures' },
  output: {
    alias: 'o',
    type: 'string',
    requiresArg: true,
    defaultDescription: 'beside FILE, with .minisig or .sig',
    describe: 'file for the signature',
  },
  ...forceFlag,
  ...jsonFlag,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { file: string }>;

async function signerOf({ key, signWith }: Arguments, signal: AbortSignal): Promise<SignOptions['signer']> {
  if (key !== undefined && signWith === undefined) return await openSigningKey(key, signal);
  if (key === undefined && signWith !== undefined) return { command: signWith };
  throw new AirliftError(
    'usage',
    `sign: got ${key === undefined ? 'neither' : 'both'}, want --key or --sign-with`,
    { hint: 'airlift sign site.tar --key export.key' },
  );
}

function printSummary({ path, subject, digest, signature, keyId }: SignSummary): void {
  const by = keyId === undefined ? '' : ` by key ${keyId}`;
  printLine(`signed ${path}${by}: ${signature}`);
  if (subject === 'bundle') printLine(`SHA256SUMS digest: ${digest}`);
  printLine(`next: airlift verify ${path} --key PUBLIC.pub`);
}

async function run(args: Arguments): Promise<void> {
  const created = creationTime(process.env);
  const summary = await interruptible(async (signal) =>
    signFile({
      path: args.file,
      signer: await signerOf(args, signal),
      created,
      tool: `airlift:${version()}`,
      name: args.name,
      output: args.output,
      checkWith: args.checkWith,
      force: args.force,
      signal,
    }),
  );
  if (args.json) printJson(summary);
  else printSummary(summary);
}

/** `airlift sign <file>` */
export function addSign(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('file', {
          type: 'string',
          demandOption: true,
          describe: 'bundle, or any other file; it stays as it is',
        })
        .options(flags)
        .example('$0 sign site.tar --key export.key', 'write site.tar.minisig')
        .example('$0 sign site.tar --key officer.key --name officer', 'add site.tar.officer.minisig')
        .example(
          "$0 sign site.tar --sign-with 'openssl dgst -sha256 -sign kms.pem'",
          'write what the program prints to site.tar.sig',
        )
        .epilogue(
          "The signature of a bundle covers its SHA256SUMS, and with it all content. Verify the bundle before you sign it.\nAIRLIFT_KEY_PASSWORD_FILE names a file with the key's password; otherwise airlift asks for it.",
        ),
    (args) => run(args),
  );
}
