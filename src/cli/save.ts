import { stat } from 'node:fs/promises';
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { parseReference } from '../oci/reference.js';
import { imagesToSave, saveImages, type SaveOptions, type SaveSummary } from '../save/save.js';
import type { SaveFrom } from '../save/source.js';
import type { CommandHead } from './command-names.js';
import { ownFlagsFirst, registryFlags, registryOptionsOf } from './registry-flags.js';
import { archiveFlags, inputsOf } from './archives.js';
import { showDashes } from './stdin-dash.js';
import { outputFlags, platformFlag, platformsOf } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printHeld } from './names.js';
import { printJson, printLine, printNote } from './print.js';
import { progressView } from './progress.js';
import { hooksOf } from './trace.js';

const flags = {
  format: {
    choices: ['docker-archive', 'oci-archive', 'oci-layout', 'k3s'] as const,
    demandOption: true,
    describe:
      'what to write: for docker load, podman and skopeo, oras, or one file an architecture for k3s nodes',
  },
  output: {
    alias: 'o',
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'file or directory to write, - for standard output; with k3s a directory, or how names begin',
  },
  ...platformFlag,
  'skip-missing-platforms': {
    type: 'boolean',
    default: false,
    describe: 'leave out what an image lacks, instead of failing',
  },
  image: { type: 'string', array: true, requiresArg: true, describe: 'images to save; all unless told' },
  tag: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'new name: OLD=NEW, or NAME alone for the only image',
  },
  compress: {
    choices: ['gzip', 'zstd', 'none'] as const,
    describe: 'compression of what is written as a whole: zstd with k3s, none otherwise',
  },
  level: { type: 'number', requiresArg: true, describe: 'how hard to compress, 1 to 9' },
  'dry-run': {
    type: 'boolean',
    default: false,
    describe: 'print the images, and what is merged; write nothing',
  },
  force: { alias: 'f', type: 'boolean', default: false, describe: 'replace files that are there' },
  ...archiveFlags,
  ...registryFlags,
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { sources: string[] }>;

async function isFile(text: string): Promise<boolean> {
  // What looks like a file is told as one that is not there, not as an image that no registry has.
  if (text === '-' || /^[./]/.test(text) || /\.(tar|tgz|gz|zst|bundle|001)$/i.test(text)) return true;
  return stat(text).then(
    () => true,
    () => false,
  );
}

/** The sources of a command line: files, where they are any, else references. */
async function sourcesOf(args: Arguments): Promise<SaveFrom> {
  const sources = showDashes(args.sources);
  const files: string[] = [];
  for (const text of sources) if (await isFile(text)) files.push(text);
  if (files.length === 0 && args.mergeNames !== undefined) {
    throw new AirliftError('usage', 'save: --merge-names is for archives; got images of registries', {
      hint: 'airlift index merge makes one image of several in a registry',
    });
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
      `save: either files or images of registries; got ${files[0]} and ${other}`,
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
    throw new AirliftError('usage', 'save: standard output takes either --json or the archive');
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
      return printHeld(images, args.json);
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
          describe: 'bundle, or archives and OCI layouts to merge, or images of registries',
        }),
      )
        .options(flags)
        .example(
          '$0 save site.tar --format docker-archive --platform linux/arm64 -o app.tar',
          'for docker load',
        )
        .example(
          '$0 save site.tar --format k3s -o /mnt/stick/',
          'site-images-amd64.tar.zst, site-images-arm64.tar.zst, …',
        ),
    (args) => run(args),
  );
}
