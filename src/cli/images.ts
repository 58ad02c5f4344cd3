import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { AirliftError, messageOf } from '../errors.js';
import type { ImageList } from '../lists/listed.js';
import { maxListLength, parseImageLists, type ListInput } from '../lists/read.js';

/** Reads a text whole, up to the most that a list may have; the reader of lists refuses what is cut there. */
async function readText(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.byteLength;
    // A character takes at most four bytes.
    if (size > 4 * maxListLength) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function readList(path: string): Promise<ListInput> {
  if (path === '-') return { file: 'standard input', text: await readText(process.stdin) };
  try {
    const file = await open(path);
    return { file: path, text: await readText(file.createReadStream()) };
  } catch (cause) {
    throw new AirliftError('usage', `read image list ${path}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * What to carry: references from the command line, and lists from files or standard input (`-`).
 * @throws AirliftError `usage` that tells everything that is wrong with all of them
 */
export async function listedImages(
  references: readonly string[],
  lists: readonly string[],
): Promise<ImageList> {
  const inputs: ListInput[] = references.map((text) => ({ file: 'command line', text }));
  for (const path of lists) inputs.push(await readList(path));
  return parseImageLists(inputs);
}
