import { createHash } from 'node:crypto';
import type { BundleFile } from './file.js';
import type { TarEntry } from './entry-reader.js';

/** One line of `sha256sum`'s output: the hex and the name it stands for. */
export interface SumsLine {
  readonly hex: string;
  readonly name: string;
}

const longestLine = 4096;

/** The lines of a sums file, as they come; those that are none give undefined. */
export async function* readSums(file: BundleFile, entry: TarEntry): AsyncIterable<SumsLine | undefined> {
  let rest = '';
  for await (const chunk of file.stream(entry.contentPosition, entry.size)) {
    const lines = (rest + (chunk as Buffer).toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield parseLine(line);
    if (rest.length > longestLine) return yield undefined;
  }
  if (rest !== '') yield parseLine(rest);
}

function parseLine(line: string): SumsLine | undefined {
  const match = /^([0-9a-f]{64}|[0-9a-f]{128}) [ *](.{1,1024})$/.exec(line);
  return match === null ? undefined : { hex: match[1] ?? '', name: match[2] ?? '' };
}

/** Hex of the sha256 of an entry's content. */
export async function sha256Of(file: BundleFile, entry: TarEntry): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of file.stream(entry.contentPosition, entry.size)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
