import type { Readable } from 'node:stream';
import type { ImageList } from './lists/listed.js';
import { readListFiles } from './lists/open.js';
import { parseImageLists } from './lists/read.js';

export interface ListImagesOptions {
  /** References in addition to the lists; they come first. */
  readonly references?: readonly string[] | undefined;
  /** Image list files; `-` means `stdin`. */
  readonly lists: readonly string[];
  /** The stream that `-` in `lists` reads; without it `-` is a usage error. */
  readonly stdin?: Readable | undefined;
}

/**
 * Returns the images in references and lists of any format, each image once. Sends no requests.
 * @throws AirliftError `usage` with the problems of all lists, `io` if a file cannot be read
 */
export async function listImages(options: ListImagesOptions): Promise<ImageList> {
  return parseImageLists(await readListFiles(options.lists, options.stdin), options.references);
}
