import { AirliftError } from '../../errors.js';
import { EntryReader, type TarEntry } from './entry-reader.js';
import type { BundleFile } from './file.js';
import { entryNames, headLimits } from './format.js';
import { survey } from './tar-walk.js';

/** The entries before the first blob. */
export interface Head {
  readonly entries: ReadonlyMap<string, TarEntry>;
  /** Byte at which the first blob's header begins: what offsets in the catalog count from. */
  readonly start: number;
}

/** How far behind a damaged header a catalog is looked for (bytes). */
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

/** What to say of a file whose first block is no tar header. */
async function refuseBegin(file: BundleFile, reader: EntryReader): Promise<AirliftError> {
  const { size } = await file.stat();
  if (size === 0) return notABundle(file.path, 'the file is empty');
  const begin = await file.read(0, 1024);
  const second = await reader.at(1024);
  const isOurs =
    begin.subarray(0, 10).equals(Buffer.from(entryNames.layout).subarray(0, Math.min(10, begin.length))) ||
    (typeof second === 'object' && second.name === entryNames.index);
  if (isOurs)
    return new AirliftError('damaged', `open ${file.path}: the first header is damaged`, {
      hint: damagedHint,
    });
  const hex = begin.toString('hex', 0, 8);
  const compression = compressions.find(([magic]) => hex.startsWith(magic))?.[1];
  return compression === undefined
    ? notABundle(file.path, `no tar archive, it begins ${JSON.stringify(begin.toString('latin1', 0, 16))}`)
    : notABundle(
        file.path,
        `a ${compression} file`,
        'a bundle is never compressed: it is a plain tar archive',
      );
}

export const damagedHint =
  'airlift verify names everything that is damaged; copy the bundle again from where it came';

/**
 * Reads the headers up to the first blob.
 * @throws AirliftError `input` where the file is no bundle, `damaged` where it was one, `io`
 */
export async function readHead(file: BundleFile): Promise<Head> {
  const reader = new EntryReader(file);
  const entries = new Map<string, TarEntry>();
  let position = 0;
  for (; entries.size < headLimits.entries;) {
    const entry = await reader.at(position);
    if (entry === 'cut' || entry === 'damaged') {
      if (position === 0) throw await refuseBegin(file, reader);
      const happened = entry === 'cut' ? 'cut off' : 'no tar header';
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
  if (!entries.has(entryNames.catalog) && !entries.has(entryNames.sha256sums)) {
    const first = [...entries.keys()].slice(0, 3).map((name) => JSON.stringify(name.slice(0, 100)));
    throw notABundle(
      file.path,
      `a tar archive without ${entryNames.catalog}${first.length > 0 ? `, it begins with ${first.join(', ')}` : ''}`,
    );
  }
  for (const name of [entryNames.layout, entryNames.index, entryNames.catalog, entryNames.sha256sums]) {
    if (!entries.has(name))
      throw new AirliftError('damaged', `open ${file.path}: ${name} is missing`, { hint: damagedHint });
  }
  return { entries, start: position };
}

/**
 * Whether a file looks like a bundle, whole or not: a tar archive that begins as a bundle does.
 * @throws AirliftError `io`
 */
export async function looksLikeBundle(file: BundleFile): Promise<boolean> {
  const reader = new EntryReader(file);
  let position = 0;
  for (const want of [entryNames.layout, entryNames.index, entryNames.catalog]) {
    const entry = await reader.at(position);
    if (typeof entry === 'string') return await hasCatalog(reader, position);
    if (entry.name !== want) return false;
    position = entry.end;
  }
  return true;
}

/** Whether a catalog is to be found behind a header that is damaged. */
async function hasCatalog(reader: EntryReader, damaged: number): Promise<boolean> {
  // What does not even begin as a layout does is no tar archive, as a rule.
  const second = damaged === 0 ? await reader.at(1024) : undefined;
  if (damaged === 0 && (typeof second !== 'object' || second.name !== entryNames.index)) return false;
  for await (const step of survey(reader, damaged, searchLimit)) {
    if (step.what !== 'entry') continue;
    if (step.entry.name.startsWith('blobs/')) return false;
    if (step.entry.name.startsWith('airlift/')) return true;
  }
  return false;
}
