import { AirliftError } from '../../errors.js';
import { EntryReader, type TarEntry } from './entry-reader.js';
import type { BundleFile } from './file.js';
import { entryNames, headLimits, repairMark } from './format.js';
import { walkTar } from './tar-walk.js';

/** The head of a bundle: the entries before the first blob. */
export interface Head {
  readonly entries: ReadonlyMap<string, TarEntry>;
  /** Position of the first blob's header, from which the catalog's offsets count. */
  readonly start: number;
}

/** Bytes to search for a catalog behind a damaged header. */
const searchLimit = 64 * 1024 * 1024;

const compressions: readonly (readonly [magic: string, name: string])[] = [
  ['1f8b', 'gzip'],
  ['28b52ffd', 'zstd'],
  ['fd377a585a00', 'xz'],
  ['425a68', 'bzip2'],
];

function notABundle(path: string, happened: string, hint?: string): AirliftError {
  return new AirliftError('input', `open ${path}: not a bundle: ${happened}`, { hint });
}

/** Returns the error of a file whose first block is not a tar header. */
async function badStartError(file: BundleFile, reader: EntryReader): Promise<AirliftError> {
  const { size } = await file.stat();
  if (size === 0) return notABundle(file.path, 'the file is empty');
  const start = await file.read(0, 1024);
  const second = await reader.readEntry(1024);
  const isBundle =
    start.subarray(0, 10).equals(Buffer.from(entryNames.layout).subarray(0, Math.min(10, start.length))) ||
    (typeof second === 'object' && second.name === entryNames.index);
  if (isBundle)
    return new AirliftError('damaged', `open ${file.path}: the first header is damaged`, {
      hint: damagedHint,
    });
  const hex = start.toString('hex', 0, 8);
  const compression = compressions.find(([magic]) => hex.startsWith(magic))?.[1];
  return compression === undefined
    ? notABundle(
        file.path,
        `not a tar archive; it starts with ${JSON.stringify(start.toString('latin1', 0, 16))}`,
      )
    : notABundle(
        file.path,
        `a ${compression} file`,
        'decompress the file first: a bundle is a plain tar archive',
      );
}

export const damagedHint = 'run airlift verify to list all damage, and copy the bundle again from its source';

/**
 * Reads the headers up to the first blob.
 * @throws AirliftError `input` if the file is not a bundle, `damaged` if it is a damaged one, `io`
 */
export async function readHead(file: BundleFile): Promise<Head> {
  const reader = new EntryReader(file);
  const entries = new Map<string, TarEntry>();
  let position = 0;
  for (; entries.size < headLimits.entries;) {
    const entry = await reader.readEntry(position);
    if (entry === 'cut' || entry === 'damaged') {
      if (position === 0) throw await badStartError(file, reader);
      const happened = entry === 'cut' ? 'truncated' : 'no tar header';
      throw new AirliftError('damaged', `open ${file.path}: ${happened} at byte ${position}`, {
        hint: damagedHint,
      });
    }
    if (entry === 'end' || entry.name.startsWith('blobs/')) break;
    if (entries.has(entry.name))
      throw new AirliftError('damaged', `open ${file.path}: two entries named ${JSON.stringify(entry.name)}`);
    entries.set(entry.name, entry);
    position = entry.end;
  }
  if (entries.has(repairMark))
    throw notABundle(file.path, 'a repair file', `airlift repair BUNDLE --from ${file.path}`);
  if (!entries.has(entryNames.catalog) && !entries.has(entryNames.sha256sums)) {
    const first = [...entries.keys()].slice(0, 3).map((name) => JSON.stringify(name.slice(0, 100)));
    throw notABundle(
      file.path,
      `a tar archive without ${entryNames.catalog}${first.length > 0 ? `; it starts with ${first.join(', ')}` : ''}`,
    );
  }
  for (const name of [entryNames.layout, entryNames.index, entryNames.catalog, entryNames.sha256sums]) {
    if (!entries.has(name))
      throw new AirliftError('damaged', `open ${file.path}: ${name} is missing`, { hint: damagedHint });
  }
  return { entries, start: position };
}

/**
 * Reports whether a file looks like a bundle, complete or not: a tar archive that starts as a bundle does.
 * @throws AirliftError `io`
 */
export async function looksLikeBundle(file: BundleFile): Promise<boolean> {
  const reader = new EntryReader(file);
  let position = 0;
  for (const want of [entryNames.layout, entryNames.index, entryNames.catalog]) {
    const entry = await reader.readEntry(position);
    if (typeof entry === 'string') return await hasCatalog(reader, position);
    // Opening it as a bundle tells what a repair file is for.
    if (entry.name === repairMark) return true;
    if (entry.name !== want) return false;
    position = entry.end;
  }
  return true;
}

/** Reports whether a catalog follows behind a damaged header. */
async function hasCatalog(reader: EntryReader, damaged: number): Promise<boolean> {
  // A file whose first header is damaged and whose second entry is not that of a layout is most likely not a tar archive.
  const second = damaged === 0 ? await reader.readEntry(1024) : undefined;
  if (damaged === 0 && (typeof second !== 'object' || second.name !== entryNames.index)) return false;
  for await (const step of walkTar(reader, damaged, searchLimit)) {
    if (step.kind !== 'entry') continue;
    if (step.entry.name.startsWith('blobs/')) return false;
    if (step.entry.name.startsWith('airlift/')) return true;
  }
  return false;
}
