import { createHash } from 'node:crypto';
import { AirliftError } from '../../errors.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import type { TarEntry } from './entry-reader.js';
import { BundleFile } from './file.js';
import type { BundlePlace } from './volumes/files.js';
import { entryNames } from './format.js';
import { readHead, type Head } from './head.js';

/** A line in the format of `sha256sum`. */
export interface SumsLine {
  readonly hex: string;
  readonly name: string;
}

const maxLine = 4096;

/** Yields the lines of a sums file in order; undefined for a malformed line. */
export async function* readSums(file: BundleFile, entry: TarEntry): AsyncIterable<SumsLine | undefined> {
  let rest = '';
  for await (const chunk of file.stream(entry.contentPosition, entry.size, { reusesMemory: true })) {
    const lines = (rest + (chunk as Buffer).toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield parseLine(line);
    if (rest.length > maxLine) return yield undefined;
  }
  if (rest !== '') yield parseLine(rest);
}

function parseLine(line: string): SumsLine | undefined {
  const match = /^([0-9a-f]{64}|[0-9a-f]{128}) [ *](.{1,1024})$/.exec(line);
  return match === null ? undefined : { hex: match[1] ?? '', name: match[2] ?? '' };
}

/** Returns the SHA-256 of an entry's content, in hexadecimal. */
export async function sha256Of(
  file: BundleFile,
  { contentPosition, size }: Pick<TarEntry, 'contentPosition' | 'size'>,
): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of file.stream(contentPosition, size, { reusesMemory: true }))
    hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * Digests of the entries of a bundle's head. Each entry is hashed once: the catalog and the lists of a large bundle are tens of megabytes,
 * several checks need their digests, and a hostile list can name one entry on every line.
 */
export class HeadDigests {
  readonly #known = new Map<string, string>();

  constructor(
    readonly file: BundleFile,
    readonly head: Head,
  ) {}

  /** Returns the SHA-256 of an entry of the head, in hexadecimal. */
  async sha256Of(name: string, entry: TarEntry): Promise<string> {
    const known = this.#known.get(name) ?? (await sha256Of(this.file, entry));
    this.#known.set(name, known);
    return known;
  }

  /** Returns the digest of `SHA256SUMS`, which covers all content of the bundle; undefined if the entry is missing. */
  async ofSums(): Promise<Digest | undefined> {
    const entry = this.head.entries.get(entryNames.sha256sums);
    const digest =
      entry === undefined ? undefined : `sha256:${await this.sha256Of(entryNames.sha256sums, entry)}`;
    return isDigest(digest) ? digest : undefined;
  }
}

/**
 * Returns the digest of the `SHA256SUMS` of a finished bundle, computed from the file.
 * @throws AirliftError `damaged`, `io`
 */
export async function sumsDigest(place: BundlePlace): Promise<Digest> {
  const file = await BundleFile.open(place, 'r');
  try {
    const digest = await new HeadDigests(file, await readHead(file)).ofSums();
    if (digest !== undefined) return digest;
    throw new AirliftError('damaged', `open ${file.path}: ${entryNames.sha256sums} is missing`);
  } finally {
    await file.close();
  }
}
