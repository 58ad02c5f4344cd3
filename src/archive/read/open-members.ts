import { createReadStream } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { refuseBomb } from '../compression/bomb.js';
import { decompress, magicLength, detectCompression, type Compression } from '../compression/decompress.js';
import { FrameSplitter } from '../compression/zstd-frames.js';
import { Scratch } from '../io/scratch.js';
import { DirectoryMembers } from './directory-members.js';
import type { Members } from './members.js';
import { word } from './nested.js';
import { TarMembers } from './tar-members.js';
import { unpackFile } from './unpack-file.js';
import { AirliftError, checkInterrupted, isAirliftError, isMissingPath, messageOf } from '../../errors.js';
import type { FileRange } from '../../io/byte-range.js';
import { chunkCollector } from '../../io/chunk-collector.js';

/** Counts compressed and decompressed bytes, and fails where their ratio shows a decompression bomb. */
class Proportion {
  #in = 0;
  #out = 0;

  constructor(private readonly what: string) {}

  async *entering(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of input) {
      this.#in += chunk.byteLength;
      yield chunk;
    }
  }

  async *leaving(output: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const collectChunks = chunkCollector();
    for await (const chunk of output) {
      this.#out += chunk.byteLength;
      refuseBomb(this.what, this.#in, this.#out);
      yield chunk;
      collectChunks(chunk.byteLength);
    }
  }
}

/** Returns the least number of decompressed bytes: as stated by zstd headers in the first bytes, else the compressed size. */
function leastUnpacked(head: Uint8Array, size: number): number {
  const frames = new FrameSplitter();
  try {
    frames.split(head);
  } catch {
    return size;
  }
  return Math.max(size, frames.contentSize ?? 0);
}

/**
 * Decompresses a stream into a scratch file.
 * @param what names the content in messages
 * @returns the decompressed content, and the compression of the stream
 * @throws AirliftError `no-space` where it does not fit, `damaged` where the input is broken or a bomb, `unsupported` where it has a
 *   foreign format, `interrupted` where `signal` is aborted
 */
async function spool(
  input: Readable,
  scratch: Scratch,
  what: string,
  signal?: AbortSignal,
): Promise<{ readonly range: FileRange; readonly compression: Compression }> {
  const proportion = new Proportion(what);
  try {
    const { content, compression } = await decompress(proportion.entering(input), what);
    const { stream, range } = scratch.append(what);
    await pipeline(content, (chunks: AsyncIterable<Uint8Array>) => proportion.leaving(chunks), stream, {
      signal,
    });
    return { range: range(), compression };
  } catch (error) {
    input.destroy();
    checkInterrupted(signal, `read ${what}`);
    throw error;
  }
}

/** Reads the first byte of a file; undefined where it cannot be read. */
async function firstByte(path: string): Promise<string | undefined> {
  try {
    const file = await open(path);
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, 0).finally(() => file.close());
    return buffer.toString('latin1');
  } catch {
    return undefined;
  }
}

/**
 * Adds the command that joins the parts to an error about a part of an archive (`NAME.part001`). Zarf's part 000 is not a part of the
 * archive: it describes the others in JSON.
 */
async function withPartsHint(path: string, error: unknown): Promise<unknown> {
  const [, whole] = /^(.+)\.part\d{2,4}$/.exec(path) ?? [];
  if (whole === undefined || !isAirliftError(error, 'input', 'damaged')) return error;
  const isZarf = (await firstByte(`${whole}.part000`)) === '{';
  const parts = isZarf ? `$(ls ${word(whole)}.part* | grep -v 'part000$')` : `${word(whole)}.part*`;
  const hint = `the file is one part of several: cat ${parts} > ${word(whole)} && airlift import ${word(whole)} --to SITE`;
  return new AirliftError(error.code, error.message, { cause: error.cause, hint });
}

export interface OpenMembersOptions {
  /** Directory for decompressed archives and streams (default: the system's temporary directory). */
  readonly tmpDir?: string | undefined;
  /** The stream to read for the path `-`. */
  readonly stdin?: Readable | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The files of an archive, and how the archive is compressed. */
export interface OpenedMembers {
  readonly members: Members;
  readonly compression: Compression;
}

/** Bytes of a compressed file that are inspected before it is decompressed. */
const headLength = 64;

function openFailed(path: string, cause: unknown): AirliftError {
  return new AirliftError(isMissingPath(cause) ? 'not-found' : 'io', `open ${path}: ${messageOf(cause)}`, {
    cause,
  });
}

function isText(head: Buffer): boolean {
  return head.every((byte) => byte >= 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d);
}

/** Adds a hint to the error for a text file: it may be an image list, given to import by mistake. */
function textFile({ code, message }: AirliftError, path: string): AirliftError {
  return new AirliftError(code, message, {
    hint: `the file is text; if it lists images: airlift export --images ${path} -o BUNDLE`,
  });
}

/** Unpacks an archive into a scratch file, and returns what it has written. */
type Unpack = (scratch: Scratch) => Promise<{ readonly range: FileRange; readonly compression: Compression }>;

/**
 * Unpacks an archive into a scratch file, for random access.
 * @param least bytes that it has at least
 */
async function unpacked(
  file: string,
  least: number,
  options: OpenMembersOptions,
  unpack: Unpack,
): Promise<OpenedMembers> {
  const scratch = await Scratch.create(options.tmpDir);
  try {
    scratch.require(least, `the uncompressed content of ${file}`);
    const { range, compression } = await unpack(scratch);
    if (range.size === 0) throw new AirliftError('input', `read ${file}: empty`);
    const members = await TarMembers.open(scratch.handle, range.size, file, options.signal);
    return { members, compression };
  } catch (error) {
    await scratch.close();
    throw error;
  }
}

/** Decompresses a stream into a scratch file. */
function spooled(
  input: Readable,
  file: string,
  least: number,
  options: OpenMembersOptions,
): Promise<OpenedMembers> {
  return unpacked(file, least, options, (scratch) => spool(input, scratch, file, options.signal)).catch(
    (error: unknown) => {
      input.destroy();
      throw error;
    },
  );
}

async function fromFile(
  handle: FileHandle,
  path: string,
  options: OpenMembersOptions,
): Promise<OpenedMembers> {
  const { size } = await handle.stat();
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(headLength), 0, headLength, 0);
  const head = buffer.subarray(0, bytesRead);
  if (size === 0) throw new AirliftError('input', `read ${path}: empty file`);
  const compression = detectCompression(head.subarray(0, magicLength), path);
  if (compression === 'none') {
    const members = await TarMembers.open(handle, size, path, options.signal).catch((error: unknown) => {
      throw isAirliftError(error, 'input') && isText(head) ? textFile(error, path) : error;
    });
    return { members, compression };
  }
  const opened = await unpacked(path, leastUnpacked(head, size), options, async (scratch) => {
    const task = { fd: handle.fd, size, compression, end: scratch.end, what: path };
    return { range: scratch.grow(await unpackFile(task, options.signal), path), compression };
  });
  await handle.close();
  return opened;
}

/**
 * Opens an archive. An uncompressed file or a directory is read in place; a compressed file or a stream is first decompressed into a
 * temporary file.
 * @throws AirliftError `not-found`, `io`, `no-space`, `input` where it is not an archive, `damaged`, `unsupported`, `interrupted`
 */
export async function openMembers(path: string, options: OpenMembersOptions = {}): Promise<OpenedMembers> {
  if (path === '-') {
    if (options.stdin === undefined)
      throw new AirliftError('usage', 'read -: standard input is not available');
    return spooled(options.stdin, 'standard input', 0, options);
  }
  const found = await stat(path).catch((cause: unknown) => {
    throw openFailed(path, cause);
  });
  if (found.isDirectory()) return { members: await DirectoryMembers.open(path), compression: 'none' };
  if (!found.isFile()) return spooled(createReadStream(path), path, 0, options);
  const handle = await open(path).catch((cause: unknown) => {
    throw openFailed(path, cause);
  });
  try {
    return await fromFile(handle, path, options);
  } catch (error) {
    await handle.close();
    throw await withPartsHint(path, error);
  }
}
