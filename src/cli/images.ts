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

/** Flags of the commands that read images from registries. */
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

/** Rejects references that are names of existing list or archive files: the user forgot --images or wants import. */
async function rejectFiles(references: readonly string[]): Promise<void> {
  for (const text of references) {
    const isArchive = /\.(?:tar|tgz|tar\.\w+|zst|bundle|001)$/i.test(text);
    if (!isArchive && !/^[./]|\.(?:txt|lst|list|ya?ml|json|toml|lock)$/i.test(text)) continue;
    const isFile = await stat(text).then(
      (found) => found.isFile(),
      () => false,
    );
    if (!isFile) continue;
    throw new AirliftError('usage', `read image ${quoted(text)}: it is a file, not an image name`, {
      hint: isArchive ? `airlift import ${text} --to HOST` : `--images ${text} reads the images in the list`,
    });
  }
}

/**
 * Reads references from the command line and from lists, and prints notes about entries that it skips.
 * @throws AirliftError `usage` with every problem of the lists
 */
export async function readLists(args: ImageArguments): Promise<ImageList> {
  await rejectFiles(args.references ?? []);
  const lists = showDashes(args.images ?? []);
  const list = await listImages({ references: args.references ?? [], lists, stdin: process.stdin });
  for (const note of list.notes) printNote(`${placeOf(note)}: ${note.message}`);
  return list;
}

/** Returns the registries that a list names. */
export function registriesIn(list: ImageList): Set<string> {
  const references = list.references.map(({ reference }) => reference.registry);
  return new Set([...references, ...list.patterns.map(({ repository }) => repository.registry)]);
}

/** Returns the error for a command line or lists without any image. */
export function noImages(verb: string, lists: readonly string[]): AirliftError {
  const where = lists.length > 0 ? ` in ${lists.join(', ')}` : '';
  return new AirliftError('usage', `${verb}: no images${where}`, {
    hint:
      lists.length > 0
        ? 'write one image per line, or use a format of docs/image-lists.md'
        : 'name images, or a list with --images FILE',
  });
}

/**
 * Returns the images of a list, and resolves tag patterns.
 * @throws AirliftError `usage` if there are none; errors of listing tags
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
