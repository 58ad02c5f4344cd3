import { createHash } from 'node:crypto';
import { open, rename, stat, type FileHandle } from 'node:fs/promises';
import { ioError } from '../bundle/format/io-error.js';
import { noFollow } from '../bundle/format/volumes/files.js';
import { syncDirectory } from '../bundle/write/output-name.js';
import { constants } from 'node:fs';
import { AirliftError, checkInterrupted } from '../errors.js';

const chunkSize = 1024 * 1024;

/** Bytes between two waits for the disk: without them, a slow medium would receive everything at the end, and progress would lie. */
const syncInterval = 64 * chunkSize;

/** A file on the medium. */
export interface StowedFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of its content, in hexadecimal. */
  readonly sha256: string;
  /** Bytes that an earlier run had copied. */
  readonly keptBytes: number;
}

export interface CopyFileOptions {
  /** Replace files of the same names. */
  readonly force: boolean;
  readonly onProgress: (bytes: number) => void;
  /** Reads the copy past the cache, and returns its SHA-256; undefined if the system cannot. */
  readonly readBack: (path: string) => Promise<string | undefined>;
  readonly signal?: AbortSignal | undefined;
}

function partialOf(path: string): string {
  return `${path}.partial`;
}

/** Returns the bytes of a copy that is there, complete or not. */
export async function presentBytes(path: string): Promise<number> {
  const sizes = await Promise.all(
    [path, partialOf(path)].map((one) =>
      stat(one).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return Math.max(...sizes);
}

/**
 * Copies a file, and gives the copy its name when it is proven. What an earlier run copied is compared with the source and kept as far as it is
 * right.
 * @throws AirliftError `exists` if the target has other content; `io` if the medium returns other bytes than were written; `no-space`,
 *   `interrupted`
 */
export async function copyFile(
  from: string,
  to: string,
  options: CopyFileOptions,
): Promise<{ readonly sha256: string; readonly keptBytes: number }> {
  const source = await attempt(`open ${from}`, () => open(from, 'r'));
  try {
    const isThere = (await stat(to).catch(() => undefined))?.isFile() === true;
    if (isThere && !options.force) {
      const same = await compare(source, from, to, options);
      if (same === undefined)
        throw new AirliftError('exists', `write ${to}: already exists, with other content`, {
          hint: 'add `force` to replace it',
        });
      await prove(to, same.sha256, options);
      return same;
    }
    const partial = partialOf(to);
    const flags = constants.O_RDWR | constants.O_CREAT | noFollow;
    // The launcher of a kit stays executable.
    const { mode } = await source.stat();
    const target = await attempt(`open ${partial}`, () => open(partial, flags, mode & 0o777));
    let copied;
    try {
      copied = await copyContent(source, from, target, partial, options);
    } finally {
      await target.close();
    }
    await prove(partial, copied.sha256, options);
    await attempt(`rename ${partial} to ${to}`, () => rename(partial, to));
    await syncDirectory(to);
    return copied;
  } finally {
    await source.close();
  }
}

async function attempt<T>(attempted: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof AirliftError ? error : ioError(attempted, error);
  }
}

async function readChunk(file: FileHandle, buffer: Buffer, position: number): Promise<Buffer> {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

async function writeChunk(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  for (let done = 0; done < chunk.length;)
    done += (await file.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
}

async function copyContent(
  source: FileHandle,
  from: string,
  target: FileHandle,
  to: string,
  { onProgress, signal }: CopyFileOptions,
): Promise<{ sha256: string; keptBytes: number }> {
  const hash = createHash('sha256');
  const [chunkBuffer, keptBuffer] = [Buffer.allocUnsafe(chunkSize), Buffer.allocUnsafe(chunkSize)];
  let position = 0;
  let keptBytes = 0;
  let unsynced = 0;
  let isKept = true;
  for (;;) {
    checkInterrupted(signal, `copy ${from}`);
    const chunk = await attempt(`read ${from}`, () => readChunk(source, chunkBuffer, position));
    if (chunk.length === 0) break;
    hash.update(chunk);
    const at = position;
    await attempt(`write ${to}`, async () => {
      isKept &&= (await readChunk(target, keptBuffer.subarray(0, chunk.length), at)).equals(chunk);
      if (isKept) keptBytes += chunk.length;
      else await writeChunk(target, chunk, at);
      unsynced += isKept ? 0 : chunk.length;
      if (unsynced >= syncInterval) {
        await target.datasync();
        unsynced = 0;
      }
    });
    position += chunk.length;
    onProgress(position);
  }
  await attempt(`sync ${to}`, async () => {
    await target.truncate(position);
    await target.sync();
  });
  return { sha256: hash.digest('hex'), keptBytes };
}

/** Compares a source with a file of the final name; undefined if they differ. */
async function compare(
  source: FileHandle,
  from: string,
  to: string,
  { onProgress, signal }: CopyFileOptions,
): Promise<{ sha256: string; keptBytes: number } | undefined> {
  const target = await attempt(`open ${to}`, () => open(to, 'r'));
  try {
    const hash = createHash('sha256');
    const [left, right] = [Buffer.allocUnsafe(chunkSize), Buffer.allocUnsafe(chunkSize)];
    for (let position = 0; ;) {
      checkInterrupted(signal, `copy ${from}`);
      const want = await attempt(`read ${from}`, () => readChunk(source, left, position));
      const got = await attempt(`read ${to}`, () => readChunk(target, right, position));
      if (!got.equals(want)) return undefined;
      if (want.length === 0) return { sha256: hash.digest('hex'), keptBytes: position };
      hash.update(want);
      position += want.length;
      onProgress(position);
    }
  } finally {
    await target.close();
  }
}

/**
 * Compares a copy with the digest of what was written.
 * @throws AirliftError `io` if the medium returns other bytes
 */
export async function prove(
  path: string,
  want: string,
  { readBack }: Pick<CopyFileOptions, 'readBack'>,
): Promise<void> {
  const got = await readBack(path);
  if (got !== undefined && got !== want)
    throw new AirliftError(
      'io',
      `read back ${path}: the medium returned other bytes than were written; got sha256:${got}, want sha256:${want}`,
      { hint: 'do not trust this medium: use another one' },
    );
}
