import { createReadStream } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError, messageOf, systemCodeOf } from '../../errors.js';
import { magicLength } from '../compression/compression.js';
import { tellCompression } from '../compression/decompress.js';
import { DirectoryMembers } from './directory-members.js';
import type { Members } from './members.js';
import { withPartsHint } from './parts.js';
import { Scratch } from '../io/scratch.js';
import { leastUnpacked, spool } from './spool.js';
import { TarMembers } from './tar-members.js';

export interface OpenMembersOptions {
  /** Where compressed archives and streams are unpacked to; the system's temporary directory by default. */
  readonly tmpDir?: string | undefined;
  /** What is read where the path is `-`. */
  readonly stdin?: Readable | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of a compressed file that are looked at before it is unpacked. */
const headLength = 64;

function openFailed(path: string, cause: unknown): AirliftError {
  const missing = ['ENOENT', 'ENOTDIR'].includes(systemCodeOf(cause) ?? '');
  return new AirliftError(missing ? 'not-found' : 'io', `open ${path}: ${messageOf(cause)}`, { cause });
}

function isText(head: Buffer): boolean {
  return head.every((byte) => byte >= 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d);
}

/** What people give to import by mistake: the list of what they want. */
function textFile({ code, message }: AirliftError, path: string): AirliftError {
  return new AirliftError(code, message, {
    hint: `it is text; if it lists images: airlift export --images ${path} -o BUNDLE`,
  });
}

/** Unpacks a stream once, so that it can be read from any place. */
async function spooled(
  input: Readable,
  file: string,
  least: number,
  options: OpenMembersOptions,
): Promise<TarMembers> {
  const scratch = await Scratch.create(options.tmpDir);
  try {
    scratch.require(least, `what ${file} unpacks to`);
    const { size } = await spool(input, scratch, file, options.signal);
    if (size === 0) throw new AirliftError('input', `read ${file}: empty`);
    return await TarMembers.open(scratch.handle, size, file, options.signal);
  } catch (error) {
    input.destroy();
    await scratch.close();
    throw error;
  }
}

async function fromFile(handle: FileHandle, path: string, options: OpenMembersOptions): Promise<TarMembers> {
  const { size } = await handle.stat();
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(headLength), 0, headLength, 0);
  const head = buffer.subarray(0, bytesRead);
  if (size === 0) throw new AirliftError('input', `read ${path}: empty file`);
  if (tellCompression(head.subarray(0, magicLength), path) === 'none') {
    return TarMembers.open(handle, size, path, options.signal).catch((error: unknown) => {
      throw isAirliftError(error, 'input') && isText(head) ? textFile(error, path) : error;
    });
  }
  const input = handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 256 * 1024 });
  const members = await spooled(input, path, leastUnpacked(head, size), options);
  await handle.close();
  return members;
}

/**
 * Opens an archive: an uncompressed file is read in its place, a compressed one or a stream is unpacked to a temporary file
 * first, a directory is read as it lies there.
 * @throws AirliftError `not-found`, `io`, `no-space`, `input` where it is no archive, `damaged`, `unsupported`, `interrupted`
 */
export async function openMembers(path: string, options: OpenMembersOptions = {}): Promise<Members> {
  if (path === '-') {
    if (options.stdin === undefined) throw new AirliftError('usage', 'read -: no standard input is given');
    return spooled(options.stdin, 'standard input', 0, options);
  }
  const found = await stat(path).catch((cause: unknown) => {
    throw openFailed(path, cause);
  });
  if (found.isDirectory()) return DirectoryMembers.open(path);
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
