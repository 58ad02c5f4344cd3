import type { EntryReader, TarEntry } from './entry-reader.js';
import { entryNames } from './format.js';
import { blockSize } from '../../tar/header.js';

/** What a walk over an archive meets: an entry, or the byte where a header is damaged, where zeros end it, where the file ends. */
export type Step =
  | { readonly what: 'entry'; readonly entry: TarEntry }
  | { readonly what: 'damaged' | 'end' | 'cut'; readonly position: number };

const known: ReadonlySet<string> = new Set(Object.values(entryNames));

/** Whether a header that was found by searching is one of a bundle's, and not part of a layer's own tar. */
function isOurs(entry: TarEntry): boolean {
  return known.has(entry.name) || /^blobs\/sha(256|512)\/[0-9a-f]+$/.test(entry.name);
}

/**
 * Walks an archive from a header on, as a plain tar reader does, and past damage: where a header is damaged it searches for
 * the next one that a bundle may have.
 * @param searchLimit bytes that it searches at most after each damage
 */
export async function* survey(
  reader: EntryReader,
  from: number,
  searchLimit = Number.MAX_SAFE_INTEGER,
): AsyncIterable<Step> {
  for (let position = from; ;) {
    const entry = await reader.at(position);
    if (typeof entry === 'object') {
      yield { what: 'entry', entry };
      position = entry.end;
      continue;
    }
    yield { what: entry, position };
    if (entry !== 'damaged') return;
    const next = await search(reader, position + blockSize, searchLimit);
    if (next === undefined) return;
    position = next;
  }
}

async function search(reader: EntryReader, from: number, limit: number): Promise<number | undefined> {
  for (let position = from; position - from < limit; position += blockSize) {
    const block = await reader.bytes(position, blockSize);
    if (block.length < blockSize) return undefined;
    // Cheaper than trying every block as a header.
    if (block.toString('latin1', 257, 262) !== 'ustar') continue;
    const entry = await reader.at(position);
    if (typeof entry === 'object' && isOurs(entry)) return position;
  }
  return undefined;
}
