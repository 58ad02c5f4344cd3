import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import {
  formatPlatform,
  formatReference,
  formatRepository,
  listImages,
  placeOf,
  type ImageList,
  type ListedReference,
} from '../index.js';
import type { CommandHead } from './command-names.js';
import { showDashes } from './stdin-dash.js';
import { jsonFlag } from './flags.js';
import { noImages } from './images.js';
import { printJson, printLine, printNote } from './print.js';

const flags = {
  where: {
    alias: 'w',
    type: 'boolean',
    default: false,
    describe: 'print the source file and line of each image',
  },
  ...jsonFlag,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { lists?: string[] }>;

function platformsOf(listed: ListedReference): readonly string[] | undefined {
  return listed.platforms?.map(formatPlatform);
}

/** Prints references with everything else as comments, so that the output is a valid image list. */
function printList(list: ImageList, where: boolean): void {
  for (const listed of list.references) {
    const remarks = [platformsOf(listed)?.join(','), listed.pinned, where ? placeOf(listed) : undefined];
    const remark = remarks.filter((text) => text !== undefined).join(' ');
    printLine(`${formatReference(listed.reference)}${remark === '' ? '' : `  # ${remark}`}`);
  }
  for (const { repository, pattern, ...place } of list.patterns) {
    printLine(`# ${formatRepository(repository)}: tags by ${pattern}${where ? `, ${placeOf(place)}` : ''}`);
  }
}

function toJson(list: ImageList): unknown {
  return {
    lists: list.lists,
    images: list.references.map((listed) => ({
      reference: formatReference(listed.reference),
      platforms: platformsOf(listed),
      digest: listed.pinned,
      file: listed.file,
      line: listed.line,
    })),
    patterns: list.patterns.map(({ repository, pattern, file, line }) => ({
      repository: formatRepository(repository),
      pattern,
      file,
      line,
    })),
    notes: list.notes,
  };
}

async function run(args: Arguments): Promise<void> {
  const list = await listImages({ lists: showDashes(args.lists ?? []), stdin: process.stdin });
  const isEmpty = list.references.length === 0 && list.patterns.length === 0;
  if (args.json) {
    printJson(toJson(list));
  } else {
    printList(list, args.where);
    for (const note of list.notes) printNote(`${placeOf(note)}: ${note.message}`);
  }
  if (isEmpty) throw noImages('list-images', showDashes(args.lists ?? []));
}

/** `airlift list-images <lists..>` */
export function addListImages(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('lists', {
          type: 'string',
          array: true,
          describe: 'image lists, Kubernetes YAML, compose files, …; - for standard input',
        })
        .options(flags)
        .example('helm template my-chart | $0 list-images -', 'images of a Helm chart')
        .example(
          '$0 list-images --where k3s-images.txt compose.yaml',
          'images of two files, with their lines',
        ),
    (args) => run(args),
  );
}
