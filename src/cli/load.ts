import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { loadImages, parseReference, type LoadSummary, type Platform } from '../index.js';
import { archiveFlags, inputsOf } from './archives.js';
import type { CommandHead } from './command-names.js';
import { outputFlags, platformFlags, platformsOf } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';

const flags = {
  into: {
    choices: ['containerd', 'docker', 'podman', 'k3s', 'rke2', 'k0s', 'microk8s', 'kind'] as const,
    demandOption: true,
    describe: 'container engine or Kubernetes distribution to load into',
  },
  platform: {
    type: 'string',
    requiresArg: true,
    defaultDescription: "the machine's",
    describe: 'platform to load, such as linux/arm64',
  },
  'skip-missing-platforms': {
    ...platformFlags['skip-missing-platforms'],
    describe: 'skip images that lack the platform, instead of failing',
  },
  image: {
    type: 'string',
    array: true,
    requiresArg: true,
    defaultDescription: 'all',
    describe: 'images to load',
  },
  address: {
    type: 'string',
    requiresArg: true,
    defaultDescription: "the engine's own",
    describe: 'socket of the engine; docker and podman: also a URL',
  },
  namespace: {
    type: 'string',
    requiresArg: true,
    defaultDescription: 'k8s.io',
    describe: 'namespace of containerd; the kubelet sees only k8s.io',
  },
  snapshotter: {
    type: 'string',
    requiresArg: true,
    defaultDescription: "containerd's own",
    describe: 'snapshotter that unpacks images in containerd',
  },
  pin: {
    type: 'boolean',
    default: true,
    describe: "protect images from the kubelet's garbage collection",
  },
  cluster: {
    type: 'string',
    requiresArg: true,
    defaultDescription: 'kind',
    describe: 'name of the kind cluster',
  },
  'data-dir': {
    type: 'string',
    requiresArg: true,
    defaultDescription: "the distribution's own",
    describe: 'data directory of k3s, RKE2 or k0s',
  },
  'to-folder': {
    type: 'boolean',
    defaultDescription: 'only if containerd does not run',
    describe: 'write an archive where k3s, RKE2 or k0s imports it',
  },
  ...archiveFlags,
  'layer-compression': { ...archiveFlags['layer-compression'], default: 'none' as const },
  ...outputFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { inputs: string[] }>;

function platformOf(text: string | undefined): Platform | undefined {
  const [platform, ...others] = platformsOf(text === undefined ? undefined : [text]) ?? [];
  if (others.length > 0) throw new AirliftError('usage', `load: --platform: got ${text}, want one platform`);
  return platform;
}

function printSummary({ engine, platform, images, file }: LoadSummary, milliseconds: number): void {
  for (const { image, digest, outcome, engine: where } of images)
    printLine(
      `${outcome}${engine === 'kind' ? ` on ${where.replace(/^kind node /, '')}` : ''}: ${image} ${digest}`,
    );
  const loaded = images.filter(({ outcome }) => outcome === 'loaded').length;
  const time = formatDuration(milliseconds);
  if (file === undefined) {
    const present = images.length - loaded;
    printLine(
      `loaded ${count(loaded, 'image')} for ${platform} into ${engine} in ${time}, ${present} already present`,
    );
    return;
  }
  printLine(
    `wrote ${count(file.images, 'image')} for ${platform} to ${file.path}: ${formatBytes(file.size)} in ${time}`,
  );
  const start =
    engine === 'k0s' ? 'k0s start' : `systemctl start ${engine === 'rke2' ? 'rke2-server' : engine}`;
  printLine(`next: ${engine} imports the file when it starts: ${start}`);
}

async function run(args: Arguments): Promise<void> {
  const started = Date.now();
  const { inputs, archives } = inputsOf(args);
  const platform = platformOf(args.platform);
  const isContainerd = args.into === 'containerd';
  const view = progressView(args);
  try {
    const summary = await interruptible((signal) =>
      loadImages({
        from: { files: inputs, archives },
        engine: args.into,
        address: args.address ?? (isContainerd ? process.env['CONTAINERD_ADDRESS'] : undefined),
        namespace: args.namespace,
        snapshotter: args.snapshotter,
        pin: args.pin,
        cluster: args.cluster,
        dataDir: args.dataDir,
        toFolder: args.toFolder,
        platform,
        skipMissingPlatforms: args.skipMissingPlatforms,
        images: args.image?.map(parseReference),
        onEvent: view.onEvent,
        signal,
      }),
    );
    view.stop();
    if (args.json) printJson({ event: 'done', ...summary, milliseconds: Date.now() - started });
    else printSummary(summary, Date.now() - started);
  } finally {
    view.stop();
  }
}

/** `airlift load <inputs..>` */
export function addLoad(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('inputs', {
          type: 'string',
          array: true,
          demandOption: true,
          describe: 'bundle, archives and OCI layouts to merge; - for standard input',
        })
        .options(flags)
        .example('$0 load site.tar --into containerd', "load the machine's platform into namespace k8s.io")
        .example('$0 load k3s-airgap-images-*.tar* --into k3s', 'load the archives of a vendor'),
    (args) => run(args),
  );
}
