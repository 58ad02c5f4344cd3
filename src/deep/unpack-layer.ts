import { createHash, type Hash } from 'node:crypto';
import { decompress, type Compression } from '../archive/compression/decompress.js';
import { LayerFileCollector, type LayerFiles } from '../archive/platform/layer-files.js';
import { AirliftError, checkInterrupted, isAirliftError } from '../errors.js';
import { chunkCollector } from '../io/chunk-collector.js';
import { StreamCursor } from '../io/byte-range.js';
import type { Digest, DigestAlgorithm } from '../oci/digest.js';
import { blockSize, isZeroBlock } from '../tar/header.js';
import { scanTar } from '../tar/scan.js';
import { EntryRules, type LayerReach } from './entry-rules.js';

/** Limits that stop a decompression bomb: only time is at stake, because nothing that is unpacked is kept. */
export interface UnpackLimits {
  /** Bytes that every layer may unpack to. */
  readonly bytes: number;
  /** Times its own size that a larger layer may unpack to. */
  readonly ratio: number;
  /** Entries of a layer. */
  readonly entries: number;
}

/** Real layers unpack to two to five times their size; zeros, of which gzip makes a thousandth, are rarely more than a few GiB. */
const defaultLimits: UnpackLimits = { bytes: 4 * 1024 ** 3, ratio: 200, entries: 5_000_000 };

/** What unpacking found out about a layer. */
export interface UnpackedLayer {
  readonly compression: Compression | undefined;
  /** The digests of the unpacked layer, by algorithm; empty if it could not be unpacked to its end. */
  readonly digests: ReadonlyMap<DigestAlgorithm, Digest>;
  /** Bytes and entries unpacked. */
  readonly bytes: number;
  readonly entries: number;
  readonly files: LayerFiles;
  readonly reach: LayerReach;
  /** What makes the layer impossible or unsafe to unpack. */
  readonly problems: readonly string[];
  /** What container engines accept, or airlift could not check. */
  readonly warnings: readonly string[];
}

export interface UnpackOptions {
  /** Algorithms of the digests to compute. */
  readonly algorithms: readonly DigestAlgorithm[];
  readonly limits?: UnpackLimits | undefined;
  /** Called with the bytes of each compressed chunk. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes read at a time behind the end of the archive. */
const tailChunk = 64 * 1024;

const collectChunks = chunkCollector();

/** Hashes and counts an unpacked layer while it is read, and remembers why it ended early. */
class Passing {
  readonly hashes: readonly (readonly [DigestAlgorithm, Hash])[];
  bytes = 0;
  isWhole = false;
  failure: unknown;

  constructor(
    algorithms: readonly DigestAlgorithm[],
    private readonly most: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.hashes = algorithms.map((algorithm) => [algorithm, createHash(algorithm)]);
  }

  async *read(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of content) {
        checkInterrupted(this.signal, 'unpack layer');
        this.bytes += chunk.byteLength;
        if (this.bytes > this.most)
          throw new AirliftError(
            'damaged',
            `unpack layer: stopped after ${this.most} bytes, because so large a layer is probably a decompression bomb; its diff_id is not verified`,
          );
        for (const [, hash] of this.hashes) hash.update(chunk);
        collectChunks(chunk.byteLength);
        yield chunk;
      }
      this.isWhole = true;
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }
}

/** The findings about one layer. */
class Report {
  readonly problems: string[] = [];
  readonly warnings: string[] = [];

  /**
   * Adds an error that unpacking threw.
   * @throws the error itself if the layer did not cause it
   */
  add(error: unknown): void {
    if (isAirliftError(error, 'damaged', 'input')) this.problems.push(error.message);
    else if (isAirliftError(error, 'unsupported')) this.warnings.push(`not checked: ${error.message}`);
    else throw error;
  }
}

/** Counts the bytes that are not zeros behind the end mark, which container engines ignore. */
async function checkTail(cursor: StreamCursor, report: Report): Promise<void> {
  const second = await cursor.read(blockSize);
  if (second.byteLength > 0 && !isZeroBlock(second))
    report.problems.push(
      `a single block of zeros at byte ${cursor.position - blockSize}, inside the archive`,
    );
  else if (second.byteLength < blockSize) report.warnings.push('one block of zeros at the end; want two');
  let extra = 0;
  for (;;) {
    const at = cursor.position;
    const bytes = await cursor.read(tailChunk);
    if (bytes.byteLength === 0) break;
    if (extra === 0 && !bytes.every((byte) => byte === 0)) extra = at;
  }
  if (extra > 0) report.warnings.push(`content behind the end of the archive, from byte ${extra} on`);
}

/**
 * Unpacks a layer while it is read and checks it: its compression, its tar headers and end, and where its entries lead. Writes nothing, and keeps
 * only its programs, links and folders.
 * @param packed the layer as it is transferred
 * @param size its bytes
 * @throws AirliftError `interrupted`, `io`
 */
export async function unpackLayer(
  packed: AsyncIterable<Uint8Array>,
  size: number,
  { algorithms, limits = defaultLimits, onBytes, signal }: UnpackOptions,
): Promise<UnpackedLayer> {
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of packed) {
      onBytes?.(chunk.byteLength);
      yield chunk;
    }
  }
  const report = new Report();
  const rules = new EntryRules();
  const collector = new LayerFileCollector();
  const passing = new Passing(algorithms, Math.max(limits.bytes, size * limits.ratio), signal);
  let compression: Compression | undefined;
  let entries = 0;
  try {
    const unpacked = await decompress(counted(), 'layer');
    compression = unpacked.compression;
    const cursor = new StreamCursor(passing.read(unpacked.content as AsyncIterable<Uint8Array>));
    try {
      const scan = scanTar(cursor, 'layer', limits.entries, true);
      let next = await scan.next();
      for (; next.done !== true; next = await scan.next()) {
        entries++;
        rules.add(next.value);
        await collector.add(next.value);
      }
      if (next.value) await checkTail(cursor, report);
      else report.warnings.push('no blocks of zeros at the end; want two');
    } catch (error) {
      report.add(error);
      // The rest decides whether the layer is at least what its config states.
      if (passing.failure === undefined) await cursor.skip(Infinity);
    } finally {
      unpacked.content.destroy();
    }
  } catch (error) {
    report.add(error);
  }
  const { files, removed, opaque, isFull } = collector;
  const digests = passing.isWhole
    ? passing.hashes.map(
        ([algorithm, hash]) => [algorithm, `${algorithm}:${hash.digest('hex')}` as Digest] as const,
      )
    : [];
  return {
    compression,
    digests: new Map(digests),
    bytes: passing.bytes,
    entries,
    files: { files, removed, opaque, isWhole: passing.isWhole && !isFull },
    reach: rules.reach(),
    problems: [...report.problems, ...rules.problems()],
    warnings: [...report.warnings, ...rules.warnings()],
  };
}
