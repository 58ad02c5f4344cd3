import { createReadStream } from 'node:fs';
import { tmpdir } from 'node:os';
import { addAbortSignal, Readable } from 'node:stream';
import { tellFormat, type Compression, type ForeignFormat } from '../archive/compression/decompress.js';
import { openChecked } from '../bundle/verify/check-front.js';
import { BundleFile } from '../bundle/format/file.js';
import { entryNames } from '../bundle/format/format.js';
import { looksLikeBundle } from '../bundle/format/head.js';
import type { BundleReader } from '../bundle/reader.js';
import { AirliftError, checkInterrupted, messageOf } from '../errors.js';
import { withStoredStream } from '../io/stored-stream.js';

/** What messages call a bundle that is read from a stream. */
const streamName = 'standard input';

/** Bytes that show what a stream is: the name field of a tar archive's first header. */
const nameLength = 100;

/** A stream that was looked at: everything that came, and the bundle that it is, where it is one. */
export interface Piped {
  readonly stream: Readable;
  /** Its head and manifests are found right. */
  readonly bundle?: BundleReader | undefined;
  /** How the stream is compressed. */
  readonly compression: Compression | ForeignFormat;
}

export interface PipedOptions {
  /** Where a bundle is stored meanwhile; the system's temporary directory by default. */
  readonly tmpDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Takes chunks from a stream until the first entry's name is there, or the stream ends. */
async function begin(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < nameLength) {
    const next = await chunks.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  return head;
}

async function* again(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* { [Symbol.asyncIterator]: () => rest };
}

/**
 * Looks whether a stream is a bundle. One that begins as a bundle does is stored first, so that it is checked before anything of it
 * is used; any other is handed on as it came.
 * @throws AirliftError what opening and checking a bundle throw; `no-space` or `io` where it cannot be stored
 */
export async function openPiped(
  input: Readable,
  { tmpDir = tmpdir(), signal }: PipedOptions,
): Promise<Piped> {
  const chunks = (signal === undefined ? input : addAbortSignal(signal, input))[
    Symbol.asyncIterator
  ]() as AsyncIterator<Buffer>;
  const head = await begin(chunks).catch((cause: unknown) => {
    checkInterrupted(signal, `read ${streamName}`);
    throw new AirliftError('io', `read ${streamName}: ${messageOf(cause)}`, { cause });
  });
  const stream = Readable.from(again(head, chunks), { objectMode: false });
  if (!head.subarray(0, nameLength).toString('latin1').startsWith(`${entryNames.layout}\0`))
    return { stream, compression: tellFormat(head) };
  const hint = 'choose a directory with more space with `tmpDir`';
  return withStoredStream(stream, { folder: tmpDir, name: streamName, hint, signal }, async (path) => {
    const file = await BundleFile.open(path, 'r', streamName);
    const isBundle = await looksLikeBundle(file).finally(() => file.close());
    const bundle = isBundle ? await openChecked(path, signal, streamName) : undefined;
    // What is open is read on without its name.
    return { stream: await opened(path), bundle, compression: 'none' };
  });
}

/** A stream of a file that is open already. */
async function opened(path: string): Promise<Readable> {
  const stream = createReadStream(path);
  await new Promise((resolve, reject) => stream.once('open', resolve).once('error', reject));
  return stream;
}
