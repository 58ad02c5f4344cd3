import { stat } from 'node:fs/promises';
import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { quoted } from '../oci/quoted.js';
import {
  expandTags,
  listImages,
  placeOf,
  Registry,
  type ImageList,
  type ListedReference,
  type RegistryOptions,
} from '../index.js';
import { showDashes } from './stdin-dash.js';
import { printNote } from './print.js';
import { hooksOf } from './trace.js';

/** Flags of the commands that take images from registries, beside their references. */
export const imageFlags = {
  images: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'file that lists images: text, Kubernetes YAML, compose; - for standard input',
  },
  tags: {
    type: 'string',
    requiresArg: true,
    describe: 'tags to select for images without a tag: semver:RANGE or regex:PATTERN',
  },
  'all-tags': { type: 'boolean', default: false, describe: 'select all tags for images without a tag' },
} as const satisfies Record<string, Options>;

/** `[references..]` */
export const referencesPositional = {
  type: 'string',
  array: true,
  describe: 'images, named as for docker pull',
} as const;

export type ImageArguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof imageFlags> & { references?: string[] | undefined }
>;

/** What looks like a file and is one was meant as a list: no image that anybody publishes is called like that. */
async function refuseFiles(references: readonly string[]): Promise<void> {
  for (const text of references) {
    const isArchive = /\.(?:tar|tgz|tar\.\w+|zst|bundle|001)$/i.test(text);
    if (!isArchive && !/^[./]|\.(?:txt|lst|list|ya?ml|json|toml|lock)$/i.test(text)) continue;
    const isFile = await stat(text).then(
      (found) => found.isFile(),
      () => false,
    );
    if (!isFile) continue;
    throw new AirliftError('usage', `read image ${quoted(text)}: it is a file, not the name of an image`, {
      hint: isArchive ? `airlift import ${text} --to HOST` : `--images ${text} reads the images it lists`,
    });
  }
}

/**
 * What the command line and the lists name. Remarks about what is not taken are printed.
 * @throws AirliftError `usage` that tells everything that is wrong with the lists
 */
export async function readLists(args: ImageArguments): Promise<ImageList> {
  await refuseFiles(args.references ?? []);
  const lists = showDashes(args.images ?? []);
  const list = await listImages({ references: args.references ?? [], lists, stdin: process.stdin });
  for (const note of list.notes) printNote(`${placeOf(note)}: ${note.message}`);
  return list;
}

/** The registries that a list names. */
export function registriesIn(list: ImageList): Set<string> {
  const references = list.references.map(({ reference }) => reference.registry);
  return new Set([...references, ...list.patterns.map(({ repository }) => repository.registry)]);
}

/** The error where lists name no image, or nothing was named at all. */
export function noImages(verb: string, lists: readonly string[]): AirliftError {
  const where = lists.length > 0 ? ` in ${lists.join(', ')}` : '';
  return new AirliftError('usage', `${verb}: no images${where}`, {
    hint:
      lists.length > 0
        ? 'a list has one image a line, or is one of the kinds in docs/image-lists.md'
        : 'name some, or a file that lists them with --images',
  });
}

/**
 * The images of a list, tag patterns looked up.
 * @throws AirliftError `usage` where there are none; what looking up tags throws
 */
export async function imagesOf(
  verb: string,
  list: ImageList,
  args: ImageArguments & { readonly traceRequests: boolean },
  options: RegistryOptions,
): Promise<ListedReference[]> {
  const pattern = args.allTags ? 'all' : args.tags;
  const registry = new Registry(options, hooksOf(args));
  try {
    const images = await expandTags(list, { pattern, tags: (repository) => registry.tags(repository) });
    if (images.length > 0) return images;
  } finally {
    await registry.close();
  }
  throw noImages(verb, showDashes(args.images ?? []));
}
