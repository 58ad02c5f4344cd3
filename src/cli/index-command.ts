import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import {
  appendToIndex,
  createIndex,
  isDigest,
  mergeIntoIndex,
  parsePlatform,
  parseReference,
  removeFromIndex,
  type IndexFieldOptions,
  type IndexOptions,
  type IndexSummary,
} from '../index.js';
import type { CommandHead } from './command-names.js';
import { ownFlagsFirst, registryFlags, uploadFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { outputFlags } from './flags.js';
import { fieldFlags, formatFlag, keyValues, sourceFlags, sourcesOf } from './index-flags.js';
import { addIndexInspect } from './index-inspect.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';
import { hooksOf } from './trace.js';

const commonFlags = {
  ...registryFlags,
  ...uploadFlags,
  ...outputFlags,
} as const satisfies Record<string, Options>;
const createFlags = { ...sourceFlags, ...fieldFlags, ...formatFlag, ...commonFlags };
const appendFlags = {
  ...sourceFlags,
  ...fieldFlags,
  replace: {
    type: 'boolean',
    default: false,
    describe: 'replace the existing image of the same platform',
  },
  ...commonFlags,
} as const satisfies Record<string, Options>;
const mergeFlags = { ...sourceFlags, ...formatFlag, ...commonFlags };

type CommonArguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof commonFlags> & { target: string; references?: string[] | undefined }
>;

function printSummary(done: string, summary: IndexSummary): void {
  const { reference, digest, previous, children, copied } = summary;
  const copies = copied > 0 ? `, ${copied} copied here` : '';
  const change = previous === digest ? ', unchanged' : '';
  printLine(
    `${done} ${reference}: ${digest}, ${children === 1 ? '1 child' : `${children} children`}${copies}${change}`,
  );
  if (previous !== undefined && previous !== digest) printLine(`before: ${previous}`);
}

async function run(
  args: CommonArguments,
  done: string,
  work: (common: IndexOptions) => Promise<IndexSummary>,
): Promise<void> {
  const target = parseReference(args.target);
  const names = [target, ...(args.references ?? []).map(parseReference)];
  const registry = await registryOptionsOf(
    args,
    process.env,
    names.map((name) => name.registry),
    target.registry,
  );
  const view = progressView(args);
  try {
    const summary = await interruptible((signal) =>
      work({
        target,
        registry,
        hooks: hooksOf(args),
        onEvent: view.onEvent,
        signal,
      }),
    );
    view.stop();
    if (args.json) printJson({ event: 'done', ...summary });
    else printSummary(done, summary);
  } finally {
    view.stop();
  }
}

function fieldsOf(args: {
  readonly annotation?: string[] | undefined;
  readonly artifactType?: string | undefined;
  readonly subject?: string | undefined;
}): IndexFieldOptions {
  return {
    annotations: keyValues('annotation', args.annotation),
    artifactType: args.artifactType,
    subject: args.subject === undefined ? undefined : parseReference(args.subject),
  };
}

function target(yargs: Argv): Argv<{ target: string }> {
  return ownFlagsFirst(
    yargs.positional('target', {
      type: 'string',
      demandOption: true,
      describe: 'index: name with tag',
    }),
  );
}

function addCreate(parser: Argv): Argv {
  return parser.command(
    'create <target> <references..>',
    'create an image index from images',
    (yargs) =>
      target(yargs)
        .positional('references', {
          type: 'string',
          array: true,
          describe: 'images to include, in this order',
        })
        .options(createFlags)
        .example(
          '$0 index create site:5000/team/app:1.0 site:5000/team/app:amd64 site:5000/team/app:arm64',
          'combine two images under one tag',
        ),
    (args) =>
      run(args, 'created', (common) =>
        createIndex({
          ...common,
          ...fieldsOf(args),
          sources: sourcesOf(args),
          kind: args.format,
          nest: args.nest,
        }),
      ),
  );
}

function addAppend(parser: Argv): Argv {
  return parser.command(
    'append <target> [references..]',
    'add images or annotations to an index',
    (yargs) =>
      target(yargs)
        .positional('references', { type: 'string', array: true, describe: 'images to add' })
        .options(appendFlags),
    (args) =>
      run(args, 'appended to', (common) =>
        appendToIndex({
          ...common,
          ...fieldsOf(args),
          sources: sourcesOf(args),
          replace: args.replace,
          nest: args.nest,
        }),
      ),
  );
}

function addRemove(parser: Argv): Argv {
  return parser.command(
    'remove <target> <children..>',
    'remove images from an index',
    (yargs) =>
      target(yargs)
        .positional('children', { type: 'string', array: true, describe: 'digests or platforms to remove' })
        .options(commonFlags)
        .example('$0 index remove site:5000/team/app:1.0 linux/arm/v6', 'remove one platform'),
    (args) =>
      run(args, 'removed from', (common) =>
        removeFromIndex({
          ...common,
          children: (args.children ?? []).map((text) => (isDigest(text) ? text : parsePlatform(text))),
        }),
      ),
  );
}

function addMerge(parser: Argv): Argv {
  return parser.command(
    'merge <target> <references..>',
    'merge indexes and images into one index',
    (yargs) =>
      target(yargs)
        .positional('references', { type: 'string', array: true, describe: 'indexes and images to merge' })
        .options(mergeFlags),
    (args) =>
      run(args, 'merged into', (common) =>
        mergeIntoIndex({ ...common, sources: sourcesOf(args), kind: args.format }),
      ),
  );
}

/** `airlift index create|append|remove|merge|inspect` */
export function addIndex(parser: Argv, { usage, describe }: CommandHead): Argv {
  const commands = [addCreate, addAppend, addRemove, addMerge, addIndexInspect];
  return parser.command(usage, describe, (yargs) =>
    commands
      .reduce((all, add) => add(all), yargs)
      .demandCommand(1, 'want a command: create, append, remove, merge or inspect'),
  );
}
