import type { EntryReader, TarEntry } from './entry-reader.js';
import { entryNames } from './format.js';
import { blockSize } from '../../tar/header.js';

/** A step of a walk: an entry, or the position of a damaged header, of the zeros that end the archive, or of the end of the file. */
export type Step =
  | { readonly kind: 'entry'; readonly entry: TarEntry }
  | { readonly kind: 'damaged' | 'end' | 'cut'; readonly position: number };

const known: ReadonlySet<string> = new Set(Object.values(entryNames));

/** Reports whether a header that the search found belongs to the bundle, and not to the tar inside a layer. */
function isBundleEntry(entry: TarEntry): boolean {
  return known.has(entry.name) || /^blobs\/sha(256|512)\/[0-9a-f]+$/.test(entry.name);
}

/**
 * Walks an archive from the header at `from`, as a plain tar reader does, but continues behind damage: it searches for the next header that
 * a bundle may have.
 * @param searchLimit the most bytes to search after each damaged header
 */
export async function* walkTar(
  reader: EntryReader,
  from: number,
  searchLimit = Number.MAX_SAFE_INTEGER,
): AsyncIterable<Step> {
  for (let position = from; ;) {
    const entry = await reader.readEntry(position);
    if (typeof entry === 'object') {
      yield { kind: 'entry', entry };
      position = entry.end;
      continue;
    }
    yield { kind: entry, position };
    if (entry !== 'damaged') return;
    const next = await search(reader, position + blockSize, searchLimit);
    if (next === undefined) return;
    position = next;
  }
}

async function search(reader: EntryReader, from: number, limit: number): Promise<number | undefined> {
  for (let position = from; position - from < limit; position += blockSize) {
    const block = await reader.read(position, blockSize);
    if (block.length < blockSize) return undefined;
    // Comparing the magic first is cheaper than decoding every block.
    if (block.toString('latin1', 257, 262) !== 'ustar') continue;
    const entry = await reader.readEntry(position);
    if (typeof entry === 'object' && isBundleEntry(entry)) return position;
  }
  return undefined;
}
