import { AirliftError, isAirliftError } from '../../errors.js';
import { verdictOf } from '../../oci/guess.js';
import { backoff, pause } from '../../oci/pause.js';
import type { Pushed } from '../../oci/target.js';
import { discard, isTransient } from '../http/responses.js';
import type { Blobs } from '../api/blobs.js';
import { ChunkedUpload } from './chunked-upload.js';
import type { Call, RegistryClient } from '../api/client.js';
import { checkReportedDigest } from '../api/manifests.js';
import { gracefulSignal, wholeContent } from './sent-content.js';
import type { UploadMemory } from './upload-memory.js';
import {
  requestReached,
  cancelUpload,
  lostUpload,
  MountRejections,
  startUpload,
  uploadRequest,
  type UploadCall,
  type UploadSession,
} from './upload-session.js';

/** The first chunk size for a registry that rejects a whole blob as too large. */
const defaultChunk = 32 * 1024 * 1024;

function statusOf(error: unknown): number {
  return error instanceof AirliftError ? (error.status ?? 0) : 0;
}

/** Uploads blobs in one request or in chunks (distribution-spec, "Pushing blobs"). */
export class Uploads {
  /** Chunk sizes for origins that rejected whole blobs. */
  readonly #chunkSizes = new Map<string, number>();
  readonly #mountRejections = new MountRejections();

  constructor(
    readonly client: RegistryClient,
    readonly blobs: Blobs,
    readonly chunkSize: number | undefined,
    readonly memory: UploadMemory,
  ) {}

  /**
   * Uploads or mounts a blob.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` if the content does not match the descriptor (the upload is then never
   *   completed); the error of `open`
   */
  async push(call: UploadCall): Promise<Pushed> {
    const { retries, retryDelay, closing } = this.client.exchange.settings;
    for (let attempt = 1; ; attempt++) {
      const chunkSize = this.#chunkSizeOf(call);
      try {
        // The previous attempt may have succeeded although its response got lost.
        if (attempt > 1 && (await this.#exists(call))) return 'uploaded';
        return await this.#pushOnce(call, chunkSize);
      } catch (error) {
        if (!(error instanceof AirliftError)) throw error;
        if (error.status === 413 && chunkSize === undefined) {
          this.#limitChunks(call, defaultChunk);
          continue;
        }
        const mayRetry =
          error.code === 'network' || (error.status !== undefined && isTransient(error.status));
        if (!mayRetry || attempt > retries) throw error;
      }
      await pause(backoff(attempt, retryDelay), call.action, call.signal, closing);
    }
  }

  async #exists(call: UploadCall): Promise<boolean> {
    try {
      return await this.blobs.exists(call);
    } catch (error) {
      if (verdictOf(error) === 'absent') return false;
      throw error;
    }
  }

  /** Returns the chunk size for a host; undefined for whole blobs. */
  #chunkSizeOf({ endpoint }: UploadCall): number | undefined {
    return this.chunkSize ?? this.#chunkSizes.get(endpoint.origin);
  }

  /** Records a chunk size that a host accepts. Concurrent uploads find it independently; the smallest one is used. */
  #limitChunks({ endpoint }: UploadCall, size: number): void {
    this.#chunkSizes.set(endpoint.origin, Math.min(size, this.#chunkSizes.get(endpoint.origin) ?? size));
  }

  async #pushOnce(call: UploadCall, chunkSize: number | undefined): Promise<Pushed> {
    const unfinished = await this.#findUnfinished(call);
    if (unfinished !== undefined) {
      try {
        await this.#putInChunks(call, unfinished.session, unfinished.bytes, chunkSize);
        return 'uploaded';
      } catch (error) {
        // The registry may be unable to resume its part of the upload: start a new one.
        const isRejected =
          error instanceof AirliftError && error.status !== undefined && !isTransient(error.status);
        if (!isRejected) throw error;
      }
    }
    const session = await startUpload(this.client, call, this.#mountRejections);
    if (session === undefined) return 'mounted';
    await this.memory.remember(call, session);
    if (chunkSize === undefined || call.descriptor.size === 0)
      await this.#complete(call, session, () => this.#putWhole(call, session));
    else await this.#putInChunks(call, session, 0, chunkSize);
    return 'uploaded';
  }

  /** Finds an unfinished upload of the blob that the registry still knows and has received bytes of. */
  async #findUnfinished(call: UploadCall): Promise<{ session: UploadSession; bytes: number } | undefined> {
    const session = await this.memory.recall(call);
    if (session === undefined) return undefined;
    const reached = await requestReached(this.client, session.url, call).catch((error: unknown) => {
      // The address recorded by an earlier run may lead to a host that no longer exists.
      if (isAirliftError(error, 'interrupted') || session.url.origin === call.endpoint.origin) throw error;
      return 0;
    });
    if (typeof reached !== 'number' && reached.bytes > 0)
      return { session: { ...session, url: reached.url }, bytes: reached.bytes };
    await this.memory.forget(call);
    if (typeof reached !== 'number') await cancelUpload(this.client, session, call);
    return undefined;
  }

  /** Completes an upload. On failure it stays recorded if another attempt can resume it, and is cancelled otherwise. */
  async #complete(
    call: UploadCall,
    session: UploadSession,
    send: () => Promise<void>,
    isLost = (): boolean => false,
  ): Promise<void> {
    try {
      await send();
      await this.memory.forget(call);
    } catch (error) {
      const canResume = isAirliftError(error, 'network', 'interrupted') || isTransient(statusOf(error));
      if (canResume && !isLost() && (await this.memory.recall(call)) !== undefined) throw error;
      await this.memory.forget(call);
      await cancelUpload(this.client, session, call);
      throw error;
    }
  }

  async #putWhole(call: UploadCall, session: UploadSession): Promise<void> {
    const content = wholeContent(call.descriptor, call.open);
    if (content.size > 0) {
      const graceful = gracefulSignal(call.signal, () => content.left());
      const request = { ...call, signal: graceful.signal };
      return this.#end(request, session.url, { body: content, once: true }).finally(() => graceful.end());
    }
    // Reading the content verifies that it is empty.
    for await (const chunk of content.open()) void chunk;
    return this.#end(call, session.url, { body: new Uint8Array() });
  }

  /** @param offset bytes that the registry already has */
  async #putInChunks(
    call: UploadCall,
    session: UploadSession,
    offset: number,
    chunkSize: number | undefined,
  ): Promise<void> {
    // Without a chunk size the rest of the blob is one chunk.
    const size = chunkSize ?? call.descriptor.size;
    const upload = new ChunkedUpload(this.client, call, session, size, offset, (moved) =>
      this.memory.remember(call, moved),
    );
    const send = async (): Promise<void> => {
      const url = await upload.send();
      if (chunkSize !== undefined && this.chunkSize === undefined) this.#limitChunks(call, upload.chunkSize);
      // All bytes are sent: an interruption still lets the registry store them, unless that takes long.
      const graceful = gracefulSignal(call.signal, () => 0);
      const lastCall = { ...call, signal: graceful.signal };
      await this.#end(lastCall, url, { body: new Uint8Array() }).finally(() => graceful.end());
    };
    await this.#complete(call, session, send, () => upload.isLost);
  }

  /** Sends the request that adds the blob to the repository. */
  async #end(call: UploadCall, session: URL, content: Pick<Call, 'body' | 'once'>): Promise<void> {
    const url = new URL(session);
    // Appended as text: URLSearchParams would encode the other parameters again, which may be signed.
    url.search += `${url.search === '' ? '' : '&'}digest=${encodeURIComponent(call.descriptor.digest)}`;
    const headers = { 'content-type': 'application/octet-stream' };
    const request: Call = { ...uploadRequest('PUT', url, call), headers, ...content };
    const response = await this.client.send(request);
    if (response.status < 200 || response.status >= 300) {
      const rejection = await this.client.errorFor(response, request, 'blob');
      throw response.status === 404 ? lostUpload(call, 404, rejection) : rejection;
    }
    await discard(response);
    checkReportedDigest(response, call.descriptor.digest, call.action);
  }
}
