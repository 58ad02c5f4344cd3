/** Worker thread of `unpackFile`: reads a compressed file and writes its content to a scratch file, both synchronously. */
import { parentPort, workerData } from 'node:worker_threads';
import type { UnpackFileAnswer, UnpackFileTask } from './unpack-file.js';
import { refuseBomb } from '../compression/bomb.js';
import { gunzip } from '../compression/gunzip.js';
import { decodeZstd } from '../compression/zstd-decoder.js';
import { zstdError, zstdFaultOf } from '../compression/zstd-frames.js';
import { ScratchAppender } from '../io/scratch.js';
import { AirliftError, toPlainError } from '../../errors.js';
import { chunkCollector } from '../../io/chunk-collector.js';
import { chunksOf, streamChunk } from '../../io/byte-range.js';

async function unpack({ fd, size, compression, end, what }: UnpackFileTask): Promise<number> {
  const appender = new ScratchAppender(end, what);
  const collectChunks = chunkCollector({ interval: 4_000_000 });
  const memory = Buffer.allocUnsafeSlow(streamChunk);
  let packed = 0;
  let unpacked = 0;
  const chunks = chunksOf({ fd, start: 0 }, size, what, () => memory);
  const onInput = (bytes: number): void => void (packed += bytes);
  const content = compression === 'zstd' ? decodeZstd(chunks, onInput) : gunzip(chunks, what, onInput);
  try {
    for await (const chunk of content) {
      unpacked += chunk.byteLength;
      refuseBomb(what, packed, unpacked);
      appender.write(chunk);
      collectChunks(chunk.byteLength);
    }
  } catch (error) {
    throw error instanceof AirliftError ? error : zstdError(zstdFaultOf(error, packed), what);
  }
  return unpacked;
}

async function answer(): Promise<UnpackFileAnswer> {
  try {
    return { size: await unpack(workerData as UnpackFileTask) };
  } catch (error) {
    return { failure: toPlainError(error) };
  }
}

void answer().then((result) => parentPort?.postMessage(result));
