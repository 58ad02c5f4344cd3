import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AirliftError, messageOf, systemCodeOf } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { isDigest, type Digest } from '../oci/digest.js';
import type { Compression } from './compression.js';

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
 * A memory kept in a file: one line a layer, `diff_id recipe digest size`. The file may be removed at any time.
 * @throws AirliftError `io` where the file is there and can't be read
 */
export async function openLayerMemory(path: string): Promise<LayerMemory> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    if (systemCodeOf(cause) === 'ENOENT') return '';
    throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
  });
  const known = parseLines(text);
  await mkdir(dirname(path), { recursive: true });
  return {
    get: (diffId, compression) => known.get(`${diffId} ${recipe(compression)}`),
    set: async (diffId, compression, layer) => {
      const key = `${diffId} ${recipe(compression)}`;
      known.set(key, layer);
      // What can't be remembered is compressed again next time.
      await appendFile(path, `${key} ${layer.digest} ${layer.size}\n`).catch(() => undefined);
    },
  };
}
