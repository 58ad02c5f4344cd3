import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { listImages } from '../list-images.js';
import { placeOf, type ImageList, type ListedReference } from '../lists/listed.js';
import { formatPlatform } from '../oci/platform.js';
import { formatReference, formatRepository } from '../oci/reference.js';
import type { CommandHead } from './command-names.js';
import { showDashes } from './stdin-dash.js';
import { noImages } from './images.js';
import { printJson, printLine, printNote } from './print.js';

const flags = {
  where: {
    alias: 'w',
    type: 'boolean',
    default: false,
    describe: 'say behind each image where it stands',
  },
  json: { type: 'boolean', default: false, describe: 'print JSON on standard output, and nothing else' },
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { lists?: string[] }>;

function platformsOf(listed: ListedReference): readonly string[] | undefined {
  return listed.platforms?.map(formatPlatform);
}

/** A list of references again, with the rest as comments: what is printed can be given as a list. */
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
    // A program that reads this sees what the notes say as well.
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
          describe: 'image lists, Kubernetes YAML, compose files …; - for standard input',
        })
        .options(flags)
        .example('helm template my-chart | $0 list-images -', 'what a chart needs')
        .example(
          '$0 list-images --where k3s-images.txt compose.yaml',
          'two lists, and where each image stands',
        ),
    (args) => run(args),
  );
}
