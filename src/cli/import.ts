import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { importImages, isCompanionTag, parseReference, refuseDirectory, siteNames } from '../index.js';
import type { CommandHead } from './command-names.js';
import { archiveFlags, inputsOf } from './archives.js';
import { creationTime } from './environment.js';
import { volumeAsker } from './ask-volume.js';
import { ownFlagsFirst, registryFlags, uploadFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { forceFlag, outputFlags, positive } from './flags.js';
import { importIntoBundle } from './import-bundle.js';
import { interruptible, withResumeHint } from './interrupt.js';
import { printLine } from './print.js';
import { nameFlags } from './name-flags.js';
import { emitNames, warnMergedRepositories, printNames, siteOf } from './names.js';
import { progressView } from './progress.js';
import { publishFlags, toFlag } from './publish-flags.js';
import { showPublished } from './summaries.js';
import { hooksOf } from './trace.js';
import { namesOf, rejectUnused } from './unused-flags.js';
import { version } from './version.js';

const flags = {
  to: { ...toFlag.to, demandOption: false },
  output: {
    alias: 'o',
    type: 'string',
    requiresArg: true,
    describe: 'bundle to write the images of archives to, instead of publishing them',
  },
  ...forceFlag,
  ...nameFlags,
  'dry-run': {
    ...nameFlags['dry-run'],
    describe: 'print the image names and merged archives; push and write nothing',
  },
  ...publishFlags,
  'arch-tags': {
    type: 'boolean',
    default: false,
    describe: 'also tag the image of each platform, for example 1.0-arm64',
  },
  base: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'bundle or repair file with layers that a delta leaves out',
  },
  request: {
    type: 'string',
    requiresArg: true,
    describe: 'file to write what a delta leaves out and is missing to, for export --request',
  },
  receipt: {
    type: 'string',
    requiresArg: true,
    describe: 'file for the list of what was published, a receipt for export --base',
  },
  'volume-wait': {
    type: 'boolean',
    default: false,
    describe: 'ask for missing volumes one after another, each when it is needed',
  },
  ...archiveFlags,
  ...outputFlags,
  ...registryFlags,
  ...uploadFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { inputs: string[] }>;

/** The flags that have no effect with --output. */
const publishOnly = [
  'arch-tags',
  'keep-registry',
  'atomic',
  'rename',
  'rename-map',
  'emit',
  'receipt',
  'base',
  'request',
  'volume-wait',
  'on-existing-tag',
  'index',
  'keep-going',
  'concurrency',
  ...namesOf(registryFlags),
  ...namesOf(uploadFlags),
] as const;

async function run(args: Arguments): Promise<void> {
  const { output, to: target, force } = args;
  if ((output === undefined) === (target === undefined)) {
    throw new AirliftError('usage', 'import: want either --to or --output', {
      hint: '--to HOST publishes the images to a registry, --output FILE writes them to a bundle',
    });
  }
  if (output !== undefined) {
    // A bundle keeps the names of its images.
    rejectUnused(args, flags, publishOnly, {
      when: 'import --output',
      problem: 'applies only to publishing with --to',
      hint: 'use it when you import the bundle',
    });
    return importIntoBundle({ ...inputsOf(args), output, force }, args);
  }
  rejectUnused(args, flags, ['force'], {
    when: 'import --to',
    problem: 'applies only to a bundle that --output writes',
    hint: '--on-existing-tag says what to do if a tag exists',
  });
  if (args.dryRun)
    rejectUnused(args, flags, ['base', 'request', 'receipt', 'emit', 'volume-wait'], {
      when: 'import --dry-run',
      problem: 'applies only to publishing',
    });
  if (target !== undefined) return publish(args, target);
}

async function publish(args: Arguments, target: string): Promise<void> {
  const started = Date.now();
  const to = await siteOf({ ...args, to: target });
  const { emit, receipt } = args;
  if (receipt !== undefined) await refuseDirectory(receipt, '--receipt', 'site.receipt');
  const registry = await registryOptionsOf(args, process.env, [to.registry], to.registry);
  const { dryRun, volumeWait } = args;
  const asker = volumeAsker();
  // Bars would redraw themselves over the questions.
  const view = progressView(args, volumeWait);
  const inputs = { ...inputsOf(args), onEvent: view.onEvent };
  try {
    if (dryRun) {
      const names = await interruptible((signal) =>
        siteNames({ ...inputs, archTags: args.archTags, originalIndex: args.index, signal }, to),
      );
      view.stop();
      warnMergedRepositories(names);
      return printNames(names, args.json);
    }
    const summary = await interruptible(
      (signal) =>
        importImages({
          ...inputs,
          to,
          base: args.base,
          request: args.request,
          askVolume: volumeWait ? asker.ask : undefined,
          archTags: args.archTags,
          onNames: async (names) => {
            warnMergedRepositories(names);
            if (emit !== undefined) await emitNames(emit, to, names, registry);
          },
          receipt:
            receipt === undefined
              ? undefined
              : { path: receipt, version: version(), time: creationTime(process.env) },
          registry,
          hooks: hooksOf(args),
          onExistingTag: args.onExistingTag,
          originalIndex: args.index,
          concurrency: positive('concurrency', args.concurrency),
          keepGoing: args.keepGoing,
          atomic: args.atomic,
          signal,
        }),
      { doing: 'import' },
    );
    view.stop();
    showPublished('imported', summary, summary.published, args, started);
    const example = summary.published.find(({ target }) => !isCompanionTag(parseReference(target).tag));
    if (!args.json && receipt !== undefined)
      printLine(`wrote ${receipt}: carry it to where airlift export runs, for --base`);
    if (!args.json && example !== undefined) printLine(`next: docker pull ${example.target}`);
  } catch (error) {
    throw withResumeHint(error);
  } finally {
    asker.close();
    view.stop();
  }
}

/** `airlift import <inputs..>` */
export function addImport(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(
        yargs.positional('inputs', {
          type: 'string',
          array: true,
          demandOption: true,
          describe: 'bundle, or archives and OCI layouts to merge; - for standard input',
        }),
      )
        .options(flags)
        .example(
          '$0 import site.tar --to 192.168.2.23:5000',
          'docker.io/rancher/pause:3.1 becomes 192.168.2.23:5000/rancher/pause:3.1',
        )
        .example(
          '$0 import k3s-airgap-images-*.tar* --to 192.168.2.23:5000',
          'merge one archive per platform into multi-platform images',
        )
        .example('$0 import k3s-airgap-images-*.tar* -o site.tar', 'write the merged images to a bundle'),
    (args) => run(args),
  );
}
