import { createHash, randomUUID } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { systemCodeOf } from '../../errors.js';
import { makeDirectory } from '../../io/directories.js';
import { isObject } from '../../oci/descriptor.js';
import { parseJson } from '../../oci/json.js';
import type { UploadCall, UploadSession } from './upload-session.js';

/** Smaller blobs are always uploaded from the start: resuming them costs about as much. */
const rememberedSize = 4 * 1024 * 1024;
/** Milliseconds after which registries usually have dropped an unfinished upload. */
const staleAfter = 7 * 24 * 3600 * 1000;
const largestFile = 64 * 1024;

/** A recorded upload. Its address may be signed and lets everybody who reads it continue the upload. */
interface Recorded {
  readonly upload: string;
  readonly location: string;
  readonly minChunk: number;
  /** Host and process that run the upload, or ran it. */
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
    // EPERM: the process runs under another user.
    return systemCodeOf(error) === 'EPERM';
  }
}

function parseRecord(text: string): Recorded | undefined {
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
 * Records unfinished uploads, so that a later attempt resumes them: in memory for this process, and in a directory (if there is one) for
 * later processes. Only the owner may read the files. An upload that cannot be recorded starts again from the beginning.
 */
export class UploadMemory {
  readonly #sessions = new Map<string, UploadSession>();
  #swept: Promise<void> | undefined;

  constructor(private readonly directory: string | undefined) {}

  /** Returns a recorded upload of the blob that no other running process works on. The registry may not know it any more. */
  async recall(call: UploadCall): Promise<UploadSession | undefined> {
    if (call.descriptor.size < rememberedSize) return undefined;
    const upload = nameOf(call);
    const own = this.#sessions.get(upload);
    if (own !== undefined || this.directory === undefined) return own;
    const recorded = await this.#read(this.#path(upload));
    if (recorded?.upload !== upload || !URL.canParse(recorded.location)) return undefined;
    if (recorded.host === hostname() && recorded.pid !== process.pid && isRunning(recorded.pid))
      return undefined;
    const url = new URL(recorded.location);
    const isSafe = url.protocol === 'https:' || (url.protocol === 'http:' && !isTls(call));
    return isSafe ? { url, minChunk: recorded.minChunk } : undefined;
  }

  /** Records the address for the next request of an upload. */
  async remember(call: UploadCall, session: UploadSession): Promise<void> {
    if (call.descriptor.size < rememberedSize) return;
    const upload = nameOf(call);
    this.#sessions.set(upload, session);
    if (this.directory === undefined) return;
    await (this.#swept ??= this.#sweep(this.directory));
    const { url, minChunk } = session;
    const record: Recorded = { upload, location: url.href, minChunk, host: hostname(), pid: process.pid };
    const temporary = join(this.directory, `${randomUUID()}.new`);
    try {
      const file = await open(temporary, 'wx', 0o600);
      await file.writeFile(JSON.stringify(record)).finally(() => file.close());
      await rename(temporary, this.#path(upload));
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  /** Removes an upload that is completed or cancelled. */
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

  async #read(path: string): Promise<Recorded | undefined> {
    try {
      const { size, mtimeMs } = await stat(path);
      if (size > largestFile || mtimeMs < Date.now() - staleAfter) return undefined;
      return parseRecord(await readFile(path, 'utf8'));
    } catch {
      return undefined;
    }
  }

  /** Creates the directory and removes records that are too old to be useful. */
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
      // Without the directory uploads are recorded in memory only.
    }
  }
}

function isTls({ endpoint }: UploadCall): boolean {
  return endpoint.origin.startsWith('https:');
}
