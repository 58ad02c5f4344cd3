import { AirliftError } from '../errors.js';
import { Collector } from './collector.js';
import type { ImageList } from './listed.js';
import { readTextList } from './text.js';

/** The most characters that one list may have. */
export const maxListLength = 16 * 1024 * 1024;

/** A list as it was read. */
export interface ListInput {
  /** What messages call it: the file's name as given, `standard input` for `-`. */
  readonly file: string;
  readonly text: string;
}

function readInto(input: ListInput, into: Collector): void {
  if (input.text.length > maxListLength) {
    throw new AirliftError(
      'usage',
      `read ${input.file}: too large for an image list; got ${input.text.length} characters, want at most ${maxListLength}`,
    );
  }
  into.begin(input.file);
  const text = input.text.startsWith('\uFEFF') ? input.text.slice(1) : input.text;
  readTextList(text, into);
}

/**
 * Reads several lists as one: in their order, each reference once, the first kept.
 * @throws AirliftError `usage` that tells every problem of every list, with file and line
 */
export function parseImageLists(inputs: readonly ListInput[]): ImageList {
  const collector = new Collector();
  for (const input of inputs) readInto(input, collector);
  return collector.result();
}

/**
 * Reads one list.
 * @param file what messages call the list
 * @throws AirliftError `usage` that tells every problem with its line
 */
export function parseImageList(text: string, file: string): ImageList {
  return parseImageLists([{ file, text }]);
}
