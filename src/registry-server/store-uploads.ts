import { createHash, randomUUID, type Hash } from 'node:crypto';
import { createReadStream, fdatasync, ftruncate } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { AirliftError, isAirliftError } from '../errors.js';
import { algorithmOf, type Digest, type DigestAlgorithm } from '../oci/digest.js';
import type { UploadState } from './store-content.js';
import {
  ifPresent,
  inFolder,
  removeFile,
  smallFileSize,
  storeError,
  type StoreFiles,
} from './store-files.js';
import type { StoreLayout } from './store-layout.js';

/** Bytes collected before they are written: a few large writes instead of one per packet. */
const batchSize = 512 * 1024;
/** Uploads whose running digest is kept in memory. Any other upload is hashed again from its file when it ends. */
const rememberedUploads = 4096;
/** Milliseconds within which a broken connection is noticed. */
const breakTime = 1000;
/** Milliseconds after which an abandoned upload is removed. */
const staleAfter = 24 * 3600 * 1000;

const datasync = promisify(fdatasync);
const truncate = promisify(ftruncate);

interface Session {
  /** The running digest; undefined if it has not seen every byte. */
  hash: { readonly algorithm: DigestAlgorithm; readonly running: Hash } | undefined;
  /** Bytes in the file. */
  size: number;
  /** The request body that the latest append reads. */
  body: Readable | undefined;
  /** Settles when all operations on the upload have ended. They run one at a time. */
  idle: Promise<void>;
  ended: boolean;
}

/** Uploads under way. Each is a file that gets the name of its blob once its digest is verified. */
export class Uploads {
  /** Sessions by file. The file is created with the first byte, so an empty upload exists only here. */
  readonly #sessions = new Map<string, Session>();

  constructor(
    private readonly layout: StoreLayout,
    private readonly files: StoreFiles,
  ) {}

  /** Removes abandoned uploads. */
  async removeStale(): Promise<void> {
    const oldest = Date.now() - staleAfter;
    for (const name of (await ifPresent(readdir(this.layout.incoming))) ?? []) {
      const path = join(this.layout.incoming, name);
      const file = await ifPresent(stat(path));
      if (file === undefined || file.mtimeMs >= oldest || this.#sessions.get(path)?.body !== undefined)
        continue;
      this.#sessions.delete(path);
      await rm(path, { force: true });
    }
  }

  start(repository: string, algorithm: DigestAlgorithm): UploadState {
    const id = randomUUID();
    const hash = { algorithm, running: createHash(algorithm) };
    this.#remember(this.layout.upload(repository, id), newSession(hash, 0));
    return { id, size: 0 };
  }

  async state(repository: string, id: string): Promise<UploadState | undefined> {
    const path = this.layout.upload(repository, id);
    const session = await this.#find(path);
    if (session === undefined) return undefined;
    const { body } = session;
    // The client asks in order to resume. Bytes that still arrive from the broken connection must not be added after this answer.
    const timer = body === undefined ? undefined : setTimeout(() => body.destroy(), breakTime);
    try {
      return await this.#inTurn(path, session, () => Promise.resolve({ id, size: session.size }));
    } catch (error) {
      if (isAirliftError(error, 'not-found')) return undefined;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async append(repository: string, id: string, body: Readable, length?: number): Promise<UploadState> {
    return await this.#alone(repository, id, body, async (path, session) => {
      await inFolder(this.layout.incoming, () => write(this.files, path, session, body, length));
      return { id, size: session.size };
    });
  }

  async finish(repository: string, id: string, digest: Digest): Promise<void> {
    await this.#alone(repository, id, undefined, async (path, session) => {
      session.ended = true;
      if (session.size === 0) await this.files.mark(path);
      const got = await digestOfUpload(path, session, algorithmOf(digest));
      if (got !== digest) {
        await removeFile(path);
        throw new AirliftError(
          'digest-mismatch',
          `upload blob ${digest}: digest mismatch after ${session.size} bytes; got ${got}, want ${digest}`,
        );
      }
      if (session.size >= smallFileSize) await sync(this.files, path);
      // A collection that runs must see that the content is new, even if the upload paused for a long time.
      await this.files.calls.touch(path);
      await this.files.moveInto(path, this.layout.content(digest));
    });
  }

  async cancel(repository: string, id: string): Promise<void> {
    await this.#alone(repository, id, undefined, async (path, session) => {
      session.ended = true;
      await removeFile(path);
    });
  }

  /** Runs `operation` after all earlier operations on the upload have ended. Interrupts an append that is under way. */
  async #alone<T>(
    repository: string,
    id: string,
    body: Readable | undefined,
    operation: (path: string, session: Session) => Promise<T>,
  ): Promise<T> {
    const path = this.layout.upload(repository, id);
    const session = await this.#find(path);
    if (session === undefined) throw unknownUpload();
    session.body?.destroy();
    session.body = body;
    try {
      return await this.#inTurn(path, session, () => operation(path, session));
    } finally {
      if (session.body === body) session.body = undefined;
      if (session.ended) this.#sessions.delete(path);
    }
  }

  /**
   * Runs `operation` after all earlier operations on the upload have ended.
   * @throws AirliftError `not-found` if the upload has ended
   */
  async #inTurn<T>(path: string, session: Session, operation: () => Promise<T>): Promise<T> {
    const turn = session.idle.then(async () => {
      await adopt(this.files, path, session);
      if (session.ended) throw unknownUpload();
      return await operation();
    });
    session.idle = turn.then(
      () => undefined,
      () => undefined,
    );
    return await turn;
  }

  async #find(path: string): Promise<Session | undefined> {
    const known = this.#sessions.get(path);
    if (known !== undefined) return known;
    const size = await ifPresent(this.files.calls.sizeOf(path));
    if (size === undefined) return undefined;
    // Another request may have found the file at the same time: both must use the same session.
    const session = this.#sessions.get(path) ?? newSession(undefined, size);
    this.#remember(path, session);
    return session;
  }

  #remember(path: string, session: Session): void {
    this.#sessions.set(path, session);
    if (this.#sessions.size <= rememberedUploads) return;
    for (const [old, { body }] of this.#sessions) {
      if (body === undefined) {
        this.#sessions.delete(old);
        return;
      }
    }
  }
}

function newSession(hash: Session['hash'], size: number): Session {
  return { hash, size, body: undefined, idle: Promise.resolve(), ended: false };
}

function unknownUpload(): AirliftError {
  return new AirliftError('not-found', 'upload: no such upload');
}

/** Takes over what another process that uses the directory has done to the upload: appended to it, or ended it. */
async function adopt({ calls }: StoreFiles, path: string, session: Session): Promise<void> {
  const size = await ifPresent(calls.sizeOf(path));
  if (size === session.size || session.ended) return;
  if (size === undefined) {
    session.ended = session.size > 0;
    return;
  }
  session.size = size;
  session.hash = undefined;
}

/** Appends `body` to the file and the digest. If the body breaks off, the bytes that arrived are kept. */
async function write(
  files: StoreFiles,
  path: string,
  session: Session,
  body: Readable,
  length: number | undefined,
): Promise<void> {
  const before = session.size;
  const descriptor = await files.calls.open(path, 'a');
  try {
    const broken = await copy(files, descriptor, session, body);
    const got = session.size - before;
    if (length !== undefined && (got > length || (got < length && broken === undefined))) {
      await truncate(descriptor, before);
      session.size = before;
      session.hash = undefined;
      throw new AirliftError('size-mismatch', `upload: size mismatch; got ${got} bytes, want ${length}`);
    }
    if (broken !== undefined) throw broken.error;
  } finally {
    await files.calls.close(descriptor);
  }
}

/** Writes one batch while the next arrives. If the body breaks off, writes what arrived before and returns the error. */
async function copy(
  files: StoreFiles,
  descriptor: number,
  session: Session,
  body: Readable,
): Promise<{ error: unknown } | undefined> {
  let batch: Buffer[] = [];
  let gathered = 0;
  let writing: Promise<void> = Promise.resolve();
  let broken: { error: unknown } | undefined;
  const flush = async (): Promise<void> => {
    await writing;
    if (gathered === 0) return;
    writing = writeAll(files, descriptor, session, batch, gathered);
    writing.catch(() => undefined);
    batch = [];
    gathered = 0;
  };
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      session.hash?.running.update(chunk);
      batch.push(chunk);
      gathered += chunk.length;
      if (gathered >= batchSize) await flush();
    }
  } catch (error) {
    broken = { error };
  }
  await flush();
  await writing;
  return broken;
}

async function writeAll(
  files: StoreFiles,
  descriptor: number,
  session: Session,
  batch: Buffer[],
  size: number,
): Promise<void> {
  try {
    await files.append(descriptor, batch, size);
    session.size += size;
  } catch (error) {
    session.hash = undefined;
    session.size = Number((await files.calls.fstat(descriptor)).size);
    throw storeError('write an upload', error);
  }
}

async function digestOfUpload(path: string, session: Session, algorithm: DigestAlgorithm): Promise<string> {
  const known = session.hash;
  if (known?.algorithm === algorithm) return `${algorithm}:${known.running.digest('hex')}`;
  const hash = createHash(algorithm);
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return `${algorithm}:${hash.digest('hex')}`;
}

async function sync({ calls }: StoreFiles, path: string): Promise<void> {
  const descriptor = await calls.open(path, 'r+');
  try {
    await datasync(descriptor);
  } finally {
    await calls.close(descriptor);
  }
}
