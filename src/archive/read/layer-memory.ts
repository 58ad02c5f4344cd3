import { appendFile, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '../../io/directories.js';
import { messageOf } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import type { Compression } from '../compression/compression.js';

/** What a layer became when it was compressed. */
export type RememberedLayer = Pick<Descriptor, 'digest' | 'size'>;

/** Remembers what layers became when they were compressed, so that one that a registry has already is not compressed again. */
export interface LayerMemory {
  get(diffId: Digest, compression: Compression): RememberedLayer | undefined;
  set(diffId: Digest, compression: Compression, layer: RememberedLayer): Promise<void>;
}

/** The way to compress: another way, or another zlib, gives other bytes. */
function recipe(compression: Compression): string {
  return `${compression}-1-zlib-${process.versions['zlib'] ?? ''}`;
}

/** The most lines that are taken from a file: the last ones. */
const maxLines = 200_000;

function parseLines(text: string): Map<string, RememberedLayer> {
  const known = new Map<string, RememberedLayer>();
  for (const line of text.split('\n').slice(-maxLines)) {
    const [diffId, how, digest, size] = line.split(' ');
    // A line that was cut off by a crash says nothing.
    if (isDigest(diffId) && isDigest(digest) && /^\d{1,15}$/.test(size ?? ''))
      known.set(`${diffId} ${how}`, { digest, size: Number(size) });
  }
  return known;
}

/**
 * A memory kept in a file: one line a layer, `diff_id recipe digest size`. The file may be removed at any time. A cache is never
 * needed: where the file cannot be used, the memory is one of this run alone.
 * @param warn called once, with the reason, where the file cannot be used
 */
export async function openLayerMemory(path: string, warn: (message: string) => void): Promise<LayerMemory> {
  let known = new Map<string, RememberedLayer>();
  let isKept = true;
  const goOnWithout = (error: unknown): void => {
    if (isKept) warn(`use the cache ${path}: ${messageOf(error)}; compressed layers are not remembered`);
    isKept = false;
  };
  try {
    await makeDirectory(dirname(path));
    const file = await open(path, 'a+', 0o600);
    try {
      if (!(await file.stat()).isFile()) throw new Error('not a file');
      known = parseLines(await file.readFile('utf8'));
    } finally {
      await file.close();
    }
  } catch (error) {
    goOnWithout(error);
  }
  return {
    get: (diffId, compression) => known.get(`${diffId} ${recipe(compression)}`),
    set: async (diffId, compression, layer) => {
      const key = `${diffId} ${recipe(compression)}`;
      known.set(key, layer);
      if (isKept) await appendFile(path, `${key} ${layer.digest} ${layer.size}\n`).catch(goOnWithout);
    },
  };
}
