import type { ServerResponse } from 'node:http';
import { AirliftError } from '../errors.js';
import { Verifier, type Digest } from '../oci/digest.js';
import { ChunkMemory, largestChunk, smallestChunk } from './chunk-memory.js';
import type { StreamedBody } from './reply.js';
import type { ContentState, OpenContent } from './store-content.js';
import { VerifiedBlobs } from './verified-blobs.js';

/** Bytes of the first chunk of a download. */
const firstChunk = 256 * 1024;
/** Milliseconds within which a client takes a chunk if it gets larger ones. A slow client gets small ones, which hold less memory. */
const quickWrite = 100;

/** What the downloads of a server share. */
export class Downloads {
  readonly memory = new ChunkMemory();
  readonly verified = new VerifiedBlobs();
}

/** The part of a blob to send. */
export interface BlobPart {
  readonly digest: Digest;
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly start: number;
  readonly end: number;
}

/** A chunk of a blob, and the memory that holds it. */
interface Chunk {
  readonly bytes: Buffer;
  readonly memory: Buffer;
}

/**
 * Sends a blob or a part of it and checks it on the way. It holds back the last chunk until the content is known to be right: no client
 * receives wrong content completely. A whole blob is hashed, unless it was before and its file has not changed since.
 *
 * Two buffers take turns: while the client accepts one chunk, the next is read. Streams of Node would need half as much time again, because
 * they allocate memory for each chunk.
 */
export class BlobDownload implements StreamedBody {
  #state: ContentState | undefined;
  #verifier: Verifier | undefined;
  #chunkSize = firstChunk;

  constructor(
    private readonly content: OpenContent,
    private readonly part: BlobPart,
    private readonly shared: Downloads,
  ) {}

  /**
   * Sends the content, and ends the response once all of it is right.
   * @throws AirliftError the errors of reading and checking, before the response has ended; Error if the client goes away
   */
  async sendTo(response: ServerResponse, sent: { bytes: number }): Promise<void> {
    const { memory } = this.shared;
    memory.downloads++;
    try {
      await this.#begin();
      await this.#send(response, sent);
    } catch (error) {
      throw this.content.explain?.(error) ?? error;
    } finally {
      memory.downloads--;
      await this.content.close();
    }
  }

  async close(): Promise<void> {
    await this.content.close();
  }

  async #begin(): Promise<void> {
    const { digest, size, start, end } = this.part;
    this.#state = await this.content.state?.();
    const isWhole = start === 0 && end === size;
    if (isWhole && !this.shared.verified.has(digest, this.#state))
      this.#verifier = new Verifier(digest, size);
  }

  async #send(response: ServerResponse, sent: { bytes: number }): Promise<void> {
    const { start, end } = this.part;
    let writing: Promise<void> | undefined;
    for (let position = start; position < end;) {
      const chunk = await this.#read(position, end);
      try {
        position += chunk.bytes.length;
        this.#verifier?.update(chunk.bytes);
        await writing;
        if (position === end) await this.#check();
      } catch (error) {
        this.shared.memory.give(chunk.memory);
        throw error;
      }
      writing = this.#write(response, chunk, sent);
      // The next read may fail before this write does.
      writing.catch(() => undefined);
    }
    await writing;
    await finish(response);
  }

  async #read(position: number, end: number): Promise<Chunk> {
    const { memory: lender } = this.shared;
    const memory = lender.take(this.#chunkSize);
    try {
      const length = Math.min(memory.byteLength, end - position);
      const bytes = await this.content.read(position, length, memory);
      if (bytes.length > 0) return { bytes, memory };
      throw new AirliftError('damaged', `serve blob: the file ends at byte ${position} of the blob`);
    } catch (error) {
      lender.give(memory);
      throw error;
    }
  }

  async #write(response: ServerResponse, { bytes, memory }: Chunk, sent: { bytes: number }): Promise<void> {
    const begun = performance.now();
    try {
      await write(response, bytes);
    } catch (error) {
      this.shared.memory.abandon(memory);
      throw error;
    }
    this.shared.memory.give(memory);
    sent.bytes += bytes.length;
    const isQuick = performance.now() - begun < quickWrite;
    const next = isQuick ? this.#chunkSize * 2 : this.#chunkSize / 2;
    this.#chunkSize = Math.max(smallestChunk, Math.min(largestChunk, next));
  }

  /** Checks everything that was read, before the last chunk is sent. */
  async #check(): Promise<void> {
    await this.content.check?.();
    const { digest } = this.part;
    const { verified } = this.shared;
    const state = await this.content.state?.();
    const isUnchanged = state !== undefined && state.id === this.#state?.id;
    if (this.#verifier !== undefined) {
      this.#verifier.end();
      if (isUnchanged) verified.add(digest, state);
    } else if (!isUnchanged && verified.has(digest, this.#state)) {
      // Another program has touched the file, or written to it: only its bytes can tell.
      await this.#verifyFile();
    }
  }

  async #verifyFile(): Promise<void> {
    const { digest, size } = this.part;
    const verifier = new Verifier(digest, size);
    for (let position = 0; position < size;) {
      const { bytes, memory } = await this.#read(position, size);
      verifier.update(bytes);
      position += bytes.length;
      this.shared.memory.give(memory);
    }
    verifier.end();
  }
}

/** Waits until the socket has accepted `bytes`; by then nothing reads them any more. */
async function write(response: ServerResponse, bytes: Buffer): Promise<void> {
  await untilDone(response, (done) => void response.write(bytes, done));
}

async function finish(response: ServerResponse): Promise<void> {
  await untilDone(response, (done) => void response.end(done));
}

/** Waits for the callback of an operation, or fails if the connection closes first: the callback may then never be called. */
async function untilDone(
  response: ServerResponse,
  begin: (done: (error?: Error | null) => void) => void,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onClose = (): void => reject(new Error('the client went away'));
    response.once('close', onClose);
    begin((error) => {
      response.off('close', onClose);
      if (error === undefined || error === null) resolve();
      else reject(error);
    });
  });
}
