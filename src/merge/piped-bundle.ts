import { createReadStream } from 'node:fs';
import { tmpdir } from 'node:os';
import { addAbortSignal, Readable } from 'node:stream';
import { openChecked, type OpenCheckedOptions } from '../bundle/verify/check-front.js';
import { BundleFile } from '../bundle/format/file.js';
import { entryNames } from '../bundle/format/format.js';
import { looksLikeBundle } from '../bundle/format/head.js';
import type { BundleReader } from '../bundle/reader.js';
import { AirliftError, checkInterrupted, messageOf } from '../errors.js';
import { withStoredStream } from '../io/stored-stream.js';

/** The name of the stream in messages. */
const streamName = 'standard input';

/** Bytes needed to recognise a bundle: the name field of a tar archive's first header. */
const nameLength = 100;

/** An inspected stream: all of its content, and the bundle if it is one. */
export interface Piped {
  readonly stream: Readable;
  /** The bundle, its head and manifests verified. */
  readonly bundle?: BundleReader | undefined;
}

export interface PipedOptions extends Omit<OpenCheckedOptions, 'name'> {
  /** Directory in which a bundle is stored (default: the system's temporary directory). */
  readonly tmpDir?: string | undefined;
}

/** Reads chunks until they contain the first entry's name, or the stream ends. */
async function readStart(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < nameLength) {
    const next = await chunks.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  return head;
}

async function* withStart(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* { [Symbol.asyncIterator]: () => rest };
}

/**
 * Detects whether a stream is a bundle. A stream that begins like a bundle is stored first, so that it is verified before any of it is
 * used; any other stream is returned with its content unread.
 * @throws AirliftError `no-space` or `io` where the bundle cannot be stored; errors of opening and checking a bundle
 */
export async function openPiped(
  input: Readable,
  { tmpDir = tmpdir(), ...checks }: PipedOptions,
): Promise<Piped> {
  const { signal } = checks;
  const chunks = (signal === undefined ? input : addAbortSignal(signal, input))[
    Symbol.asyncIterator
  ]() as AsyncIterator<Buffer>;
  const head = await readStart(chunks).catch((cause: unknown) => {
    checkInterrupted(signal, `read ${streamName}`);
    throw new AirliftError('io', `read ${streamName}: ${messageOf(cause)}`, { cause });
  });
  const stream = Readable.from(withStart(head, chunks), { objectMode: false });
  if (!head.subarray(0, nameLength).toString('latin1').startsWith(`${entryNames.layout}\0`))
    return { stream };
  const hint = 'choose a directory with more space with `tmpDir`';
  return withStoredStream(stream, { folder: tmpDir, name: streamName, hint, signal }, async (path) => {
    const file = await BundleFile.open(path, 'r', streamName);
    const isBundle = await looksLikeBundle(file).finally(() => file.close());
    const bundle = isBundle ? await openChecked(path, { ...checks, name: streamName }) : undefined;
    // The stored file is unlinked on return; the open stream stays readable.
    return { stream: await openStream(path), bundle };
  });
}

/** Creates a stream and waits until its file is open. */
async function openStream(path: string): Promise<Readable> {
  const stream = createReadStream(path);
  await new Promise((resolve, reject) => stream.once('open', resolve).once('error', reject));
  return stream;
}
