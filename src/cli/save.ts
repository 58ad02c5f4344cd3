import { stat } from 'node:fs/promises';
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import {
  imagesToSave,
  parseReference,
  saveImages,
  type SaveFrom,
  type SaveOptions,
  type SaveSummary,
} from '../index.js';
import type { CommandHead } from './command-names.js';
import { ownFlagsFirst, registryFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { archiveFlags, inputsOf } from './archives.js';
import { showDashes } from './stdin-dash.js';
import { forceFlag, outputFlags, platformFlags, platformsOf } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printImages } from './names.js';
import { printJson, printLine, printNote } from './print.js';
import { progressView } from './progress.js';
import { hooksOf } from './trace.js';

const flags = {
  format: {
    choices: ['docker-archive', 'oci-archive', 'oci-layout', 'k3s'] as const,
    demandOption: true,
    describe: 'output format; k3s writes one archive per architecture',
  },
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'file or directory to write; - for standard output; k3s: directory or prefix',
  },
  ...platformFlags,
  image: {
    type: 'string',
    array: true,
    requiresArg: true,
    defaultDescription: 'all',
    describe: 'images to save',
  },
  tag: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'new name: OLD=NEW, or only NEW if there is one image',
  },
  compress: {
    choices: ['gzip', 'zstd', 'none'] as const,
    defaultDescription: 'zstd for k3s, else none',
    describe: 'compression of the whole output',
  },
  level: { type: 'number', requiresArg: true, describe: 'compression level, 1 to 9' },
  'dry-run': {
    type: 'boolean',
    default: false,
    describe: 'print the images and merged archives; write nothing',
  },
  ...forceFlag,
  ...archiveFlags,
  ...registryFlags,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { sources: string[] }>;

async function isFile(text: string): Promise<boolean> {
  // A missing file must fail as a missing file, not as an image that no registry has.
  if (text === '-' || /^[./]/.test(text) || /\.(tar|tgz|gz|zst|bundle|volumes|\d{3})$/i.test(text))
    return true;
  return stat(text).then(
    () => true,
    () => false,
  );
}

/** Reads the sources as files if any of them is a file, else as image references. */
async function sourcesOf(args: Arguments): Promise<SaveFrom> {
  const sources = showDashes(args.sources);
  const files: string[] = [];
  for (const text of sources) if (await isFile(text)) files.push(text);
  if (files.length === 0 && args.mergeNames !== undefined) {
    throw new AirliftError(
      'usage',
      'save: --merge-names applies only to archives; got images in registries',
      {
        hint: 'merge images in a registry with airlift index merge',
      },
    );
  }
  if (files.length === 0 && args.requireSignature !== undefined) {
    throw new AirliftError(
      'usage',
      'save: --require-signature applies only to bundles; got images in registries',
      { hint: 'omit --require-signature, or name a bundle' },
    );
  }
  if (files.length === 0) {
    const references = sources.map(parseReference);
    const hosts = references.map((reference) => reference.registry);
    const registry = await registryOptionsOf(args, process.env, hosts);
    return { references, registry, hooks: hooksOf(args) };
  }
  if (files.length < sources.length) {
    const other = sources.find((text) => !files.includes(text)) ?? '';
    throw new AirliftError(
      'usage',
      `save: got file ${files[0]} and image ${other}, want either files or images in registries`,
    );
  }
  const { inputs, archives } = inputsOf({ ...args, inputs: args.sources });
  return { files: inputs, archives };
}

function printSummary({ files }: SaveSummary, milliseconds: number, print: (text: string) => void): void {
  for (const { path, size, images, platform } of files) {
    const what = platform === undefined ? '' : ` for ${platform}`;
    print(`saved ${count(images, 'image')}${what} to ${path}: ${formatBytes(size)}`);
  }
  print(`in ${formatDuration(milliseconds)}`);
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  const from = await sourcesOf(args);
  const [output = args.output] = showDashes([args.output]);
  const isStream = output === '-';
  if (isStream && args.json)
    throw new AirliftError('usage', 'save: --json and an archive cannot both use standard output');
  const view = progressView(args);
  try {
    const optionsFor = (signal: AbortSignal): SaveOptions => ({
      from,
      format: args.format,
      output,
      stdout: isStream ? process.stdout : undefined,
      platforms: platformsOf(args.platform),
      skipMissingPlatforms: args.skipMissingPlatforms,
      images: args.image?.map(parseReference),
      tags: args.tag,
      compression: args.compress,
      level: args.level,
      tmpDir: args.tmpDir,
      force: args.force,
      retries: args.retries,
      onEvent: view.onEvent,
      signal,
    });
    if (args.dryRun) {
      const images = await interruptible((signal) => imagesToSave(optionsFor(signal)));
      view.stop();
      return printImages(images, args.json);
    }
    const summary = await interruptible((signal) => saveImages(optionsFor(signal)));
    view.stop();
    if (args.json) printJson({ event: 'done', ...summary, milliseconds: Date.now() - started });
    else printSummary(summary, Date.now() - started, isStream ? printNote : printLine);
  } finally {
    view.stop();
  }
}

/** `airlift save <sources..>` */
export function addSave(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(
        yargs.positional('sources', {
          type: 'string',
          array: true,
          demandOption: true,
          describe: 'bundle, archives and OCI layouts to merge, or images in registries',
        }),
      )
        .options(flags)
        .example(
          '$0 save site.tar --format docker-archive --platform linux/arm64 -o app.tar',
          'write an archive for docker load',
        )
        .example(
          '$0 save site.tar --format k3s -o /mnt/stick/',
          'write site-images-amd64.tar.zst, site-images-arm64.tar.zst, …',
        ),
    (args) => run(args),
  );
}
