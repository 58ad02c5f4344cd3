import type { Readable } from 'node:stream';
import type { ImageList } from './lists/listed.js';
import { readListFiles } from './lists/open.js';
import { parseImageLists } from './lists/read.js';

export interface ListImagesOptions {
  /** References beside the lists; they come first. */
  readonly references?: readonly string[] | undefined;
  /** Files that list images, `-` for `stdin`. */
  readonly lists: readonly string[];
  /** The stream that `-` in `lists` reads; without it `-` is a usage error. */
  readonly stdin?: Readable | undefined;
}

/**
 * What references and lists of any kind ask for, each image once. Nothing is fetched.
 * @throws AirliftError `usage` that tells everything that is wrong with all of them, `io` where a file can't be read
 */
export async function listImages(options: ListImagesOptions): Promise<ImageList> {
  return parseImageLists(await readListFiles(options.lists, options.stdin), options.references);
}
