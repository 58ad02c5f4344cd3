import { Readable } from 'node:stream';
import { compressLayer, type CompressedLayer } from '../../src/archive/compression/compress.js';
import type { Compression } from '../../src/archive/compression/decompress.js';

/** Compresses chunks like a layer of an archive, in memory. */
export async function compressed(
  chunks: Iterable<Buffer> | AsyncIterable<Buffer>,
  compression: Compression,
  options?: Parameters<typeof compressLayer>[3],
): Promise<{ readonly layer: CompressedLayer; readonly written: Buffer }> {
  const written: Buffer[] = [];
  const layer = await compressLayer(
    Readable.from(chunks),
    (chunk) => void written.push(Buffer.from(chunk)),
    compression,
    options,
  );
  return { layer, written: Buffer.concat(written) };
}
