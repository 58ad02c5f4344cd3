/** Worker thread of the layer store: reads a layer once, and on the way hashes it, compresses it and finds its programs. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { ChunkHandover } from './chunk-handover.js';
import type { LayerAnswer, LayerTask } from './layer-thread.js';
import { BlockRoom, compressionThreads } from '../compression/compress-blocks.js';
import { compressLayer, hashing, type CompressedLayer } from '../compression/compress.js';
import { decompress } from '../compression/decompress.js';
import { ScratchAppender } from '../io/scratch.js';
import { filesOfStream, filesOfTar, type LayerFiles } from '../platform/layer-files.js';
import { toPlainError } from '../../errors.js';
import { chunkCollector } from '../../io/chunk-collector.js';
import { chunksOf, SyncRange } from '../../io/byte-range.js';
import type { Digest } from '../../oci/digest.js';

const port = parentPort;
if (port === null) throw new Error('the layer worker runs only as a worker thread');

/** Collects the old generation, too, every 64 MB: that takes 5 ms, because the heap of this thread is small. */
const collectChunks = chunkCollector({ majorEvery: 4 });

/** Passes content on to `work` and, at the same time, finds its programs. */
async function withFiles<T>(
  content: AsyncIterable<Buffer> | Iterable<Buffer>,
  work: (content: AsyncIterable<Buffer>) => Promise<T>,
): Promise<[T, LayerFiles]> {
  const handover = new ChunkHandover();
  const files = filesOfStream(handover).finally(() => handover.stop());
  async function* passing(): AsyncGenerator<Buffer> {
    for await (const chunk of content) {
      await handover.give(chunk);
      yield chunk;
    }
  }
  const result = await work(passing()).finally(() => handover.end());
  return [result, await files];
}

/** Compresses a layer into a scratch file. */
async function compress({
  place,
  size,
  what,
  target,
}: LayerTask & { kind: 'compress' }): Promise<[CompressedLayer, LayerFiles]> {
  const appender = new ScratchAppender(target.end, what);
  const write = (chunk: Buffer): void => {
    appender.write(chunk);
    collectChunks(chunk.byteLength);
  };
  const room = new BlockRoom();
  const options = { concurrency: compressionThreads, room };
  return withFiles(
    chunksOf(place, size, what, () => room.rest),
    (content) => compressLayer(content, write, target.compression, options),
  );
}

/** Computes the digests of a layer as it is and of its content. */
async function verify({ place, size, what }: LayerTask): Promise<[CompressedLayer, LayerFiles]> {
  const outer = createHash('sha256');
  const inner = createHash('sha256');
  const packed = hashing(chunksOf(place, size, what), outer);
  const { content } = await decompress(packed, what);
  const [, files] = await withFiles(content as AsyncIterable<Buffer>, async (chunks) => {
    for await (const chunk of chunks) inner.update(chunk);
  });
  const digest = `sha256:${outer.digest('hex')}` as Digest;
  return [{ digest, size, diffId: `sha256:${inner.digest('hex')}` as Digest }, files];
}

/** Finds the programs of an uncompressed layer. */
async function scan({ place, size, what }: LayerTask): Promise<LayerFiles> {
  const range = new SyncRange(place, size, what);
  return filesOfTar(range).finally(() => range.close());
}

async function run(task: LayerTask): Promise<LayerAnswer> {
  try {
    if (task.kind === 'scan') return { files: await scan(task) };
    const [layer, files] = task.kind === 'compress' ? await compress(task) : await verify(task);
    return { layer, files };
  } catch (error) {
    return { failure: toPlainError(error) };
  }
}

port.on('message', ({ id, task }: { id: number; task: LayerTask }) => {
  void run(task).then((answer) => port.postMessage({ id, answer }));
});
