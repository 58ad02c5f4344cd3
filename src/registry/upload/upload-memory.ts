import { createHash, randomUUID } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from '../../io/directories.js';
import { isObject } from '../../oci/descriptor.js';
import { parseJson } from '../../oci/json.js';
import type { UploadCall, UploadSession } from './upload-session.js';

/** Blobs of fewer bytes are begun anew: to ask for what is left of them costs about as much. */
const rememberedSize = 4 * 1024 * 1024;
/** Milliseconds after which registries have forgotten an upload, as a rule. */
const staleAfter = 7 * 24 * 3600 * 1000;
const largestFile = 64 * 1024;

/** An upload as it is kept in a file. Its address may be signed: whoever reads it may go on with the upload. */
interface Kept {
  readonly upload: string;
  readonly location: string;
  readonly minChunk: number;
  /** The process that is at it, or was. */
  readonly host: string;
  readonly pid: number;
}

function nameOf({ endpoint, descriptor }: UploadCall): string {
  return `${endpoint.origin}/${endpoint.repository}@${descriptor.digest}`;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process runs all the same.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function parseKept(text: string): Kept | undefined {
  try {
    const value = parseJson(text, 'upload');
    if (!isObject(value)) return undefined;
    const { upload, location, minChunk, host, pid } = value;
    const isWhole = typeof upload === 'string' && typeof location === 'string' && typeof host === 'string';
    if (!isWhole || !Number.isSafeInteger(minChunk) || !Number.isSafeInteger(pid)) return undefined;
    return { upload, location, minChunk: minChunk as number, host, pid: pid as number };
  } catch {
    return undefined;
  }
}

/**
 * Uploads that were begun and are not at their end, so that another try goes on with them: in this process, and where there is
 * a directory for it, after this process too. The files can only be read by their owner. What can't be kept is begun anew.
 */
export class UploadMemory {
  readonly #sessions = new Map<string, UploadSession>();
  #swept: Promise<void> | undefined;

  constructor(private readonly directory: string | undefined) {}

  /** An upload of the blob that was begun earlier, by nobody who is still at it. Whether the registry knows it is another question. */
  async recall(call: UploadCall): Promise<UploadSession | undefined> {
    if (call.descriptor.size < rememberedSize) return undefined;
    const upload = nameOf(call);
    const own = this.#sessions.get(upload);
    if (own !== undefined || this.directory === undefined) return own;
    const kept = await this.#read(this.#path(upload));
    if (kept?.upload !== upload || !URL.canParse(kept.location)) return undefined;
    if (kept.host === hostname() && kept.pid !== process.pid && isRunning(kept.pid)) return undefined;
    const url = new URL(kept.location);
    const isSafe = url.protocol === 'https:' || (url.protocol === 'http:' && !isTls(call));
    return isSafe ? { url, minChunk: kept.minChunk } : undefined;
  }

  /** Notes where the upload goes on. */
  async remember(call: UploadCall, session: UploadSession): Promise<void> {
    if (call.descriptor.size < rememberedSize) return;
    const upload = nameOf(call);
    this.#sessions.set(upload, session);
    if (this.directory === undefined) return;
    await (this.#swept ??= this.#sweep(this.directory));
    const { url, minChunk } = session;
    const kept: Kept = { upload, location: url.href, minChunk, host: hostname(), pid: process.pid };
    const temporary = join(this.directory, `${randomUUID()}.new`);
    try {
      const file = await open(temporary, 'wx', 0o600);
      await file.writeFile(JSON.stringify(kept)).finally(() => file.close());
      await rename(temporary, this.#path(upload));
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  /** The upload has ended, one way or another. */
  async forget(call: UploadCall): Promise<void> {
    if (call.descriptor.size < rememberedSize) return;
    const upload = nameOf(call);
    this.#sessions.delete(upload);
    if (this.directory !== undefined) await rm(this.#path(upload), { force: true }).catch(() => undefined);
  }

  #path(upload: string): string {
    const name = createHash('sha256').update(upload).digest('hex');
    return join(this.directory ?? '', `${name}.json`);
  }

  async #read(path: string): Promise<Kept | undefined> {
    try {
      const { size, mtimeMs } = await stat(path);
      if (size > largestFile || mtimeMs < Date.now() - staleAfter) return undefined;
      return parseKept(await readFile(path, 'utf8'));
    } catch {
      return undefined;
    }
  }

  /** Makes the directory, and removes what is too old to be of any use. */
  async #sweep(directory: string): Promise<void> {
    try {
      await makeDirectory(directory, 0o700);
      const oldest = Date.now() - staleAfter;
      for (const name of await readdir(directory)) {
        if (!/^[0-9a-f]{64}\.json$|^[0-9a-f-]{36}\.new$/.test(name)) continue;
        const path = join(directory, name);
        if ((await stat(path)).mtimeMs < oldest) await rm(path, { force: true });
      }
    } catch {
      // Then nothing can be kept there.
    }
  }
}

function isTls({ endpoint }: UploadCall): boolean {
  return endpoint.origin.startsWith('https:');
}
