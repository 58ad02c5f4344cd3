import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { copyImages, copyNames, refuseDirectory, type CopyOptions } from '../index.js';
import type { CommandHead } from './command-names.js';
import { ownFlagsFirst, registryFlags, uploadFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { argumentsOfEndpoint, flagsOfEndpoint, hasEndpointFlags } from './source-dest-flags.js';
import { exitCodes } from './exit-codes.js';
import { FailedList, failedFlag } from './failed.js';
import { contentFlags, outputFlags, platformFlags, platformsOf, positive } from './flags.js';
import { imageFlags, imagesOf, readLists, referencesPositional, registriesIn } from './images.js';
import { interruptible, withResumeHint } from './interrupt.js';
import { nameFlags } from './name-flags.js';
import { emitNames, warnMergedRepositories, printNames, siteOf } from './names.js';
import { progressView } from './progress.js';
import { publishFlags, toFlag } from './publish-flags.js';
import { showPublished } from './summaries.js';
import { hooksOf } from './trace.js';

const flags = {
  ...imageFlags,
  ...toFlag,
  ...platformFlags,
  ...contentFlags,
  ...nameFlags,
  ...publishFlags,
  'index-only': {
    type: 'boolean',
    default: false,
    describe: 'push only indexes and tags; their images must already be at the target',
  },
  ...failedFlag,
  ...outputFlags,
  ...registryFlags,
  ...flagsOfEndpoint('src'),
  ...flagsOfEndpoint('dest'),
  ...uploadFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof flags> & { references?: string[] | undefined }
>;

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  if (args.failed !== undefined) await refuseDirectory(args.failed, '--failed', 'failed.txt');
  const to = await siteOf(args);
  const list = await readLists(args);
  const sources = registriesIn(list);
  const hasSeparateEndpoints = hasEndpointFlags(args, 'src') || hasEndpointFlags(args, 'dest');
  const { registry: target } = to;
  const endpoints = hasSeparateEndpoints
    ? {
        registry: await registryOptionsOf(argumentsOfEndpoint(args, 'src'), process.env, sources),
        destination: await registryOptionsOf(
          argumentsOfEndpoint(args, 'dest'),
          process.env,
          [target],
          target,
        ),
      }
    : { registry: await registryOptionsOf(args, process.env, [...sources, target], target) };
  const images = await imagesOf('copy', list, args, endpoints.registry);
  // A dry run prints one JSON document on standard output; progress goes to standard error.
  const view = progressView(args.dryRun ? { ...args, json: false } : args);
  const failed = new FailedList(args.failed, images);
  const { emit } = args;
  const options: CopyOptions = {
    images,
    to,
    ...endpoints,
    platforms: platformsOf(args.platform),
    skipMissingPlatforms: args.skipMissingPlatforms,
    referrers: args.referrers,
    foreignLayers: args.foreignLayers,
    hooks: hooksOf(args),
    onExistingTag: args.onExistingTag,
    originalIndex: args.index,
    indexOnly: args.indexOnly,
    concurrency: positive('concurrency', args.concurrency),
    keepGoing: args.keepGoing,
    atomic: args.atomic,
    onNames: async (names) => {
      warnMergedRepositories(names);
      if (emit !== undefined) await emitNames(emit, to, names, endpoints.destination ?? endpoints.registry);
    },
    onEvent: failed.listen(view.onEvent),
  };
  try {
    if (args.dryRun) {
      const names = await interruptible((signal) => copyNames({ ...options, signal })).finally(() =>
        failed.write(),
      );
      view.stop();
      warnMergedRepositories(names);
      printNames(names, args.json);
      if (failed.size > 0) process.exitCode = exitCodes.someFailed;
      return;
    }
    const summary = await interruptible((signal) => copyImages({ ...options, signal }), {
      doing: 'copy',
    }).finally(() => failed.write());
    view.stop();
    showPublished('copied', summary, summary.copied, args, started);
  } catch (error) {
    throw withResumeHint(error);
  } finally {
    view.stop();
  }
}

/** `airlift copy [references..]` */
export function addCopy(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      ownFlagsFirst(yargs.positional('references', referencesPositional))
        .options(flags)
        .example(
          '$0 copy --images list.txt --platform linux/amd64,linux/arm64 --to 192.168.2.23:5000',
          'docker.io/rancher/pause:3.1 becomes 192.168.2.23:5000/rancher/pause:3.1',
        ),
    (args) => run(args),
  );
}
