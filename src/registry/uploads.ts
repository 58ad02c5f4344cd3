import { AirliftError } from '../errors.js';
import type { Pushed } from '../oci/target.js';
import { discard } from './answers.js';
import type { Blobs } from './blobs.js';
import { backoff, isPassing, pause } from './backoff.js';
import { ChunkedUpload } from './chunked-upload.js';
import type { Call, RegistryClient } from './client.js';
import { checkHeld } from './manifests.js';
import { wholeContent } from './sent-content.js';
import {
  cancelUpload,
  startUpload,
  uploadRequest,
  type UploadCall,
  type UploadSession,
} from './upload-session.js';

/** What a registry that does not take a blob in one piece is first given. */
const defaultChunk = 32 * 1024 * 1024;

/** Puts blobs into repositories (distribution-spec, "Pushing blobs"): in one piece, or in chunks. */
export class Uploads {
  /** Sizes of chunks for hosts that did not take whole blobs. */
  readonly #chunkSizes = new Map<string, number>();

  constructor(
    readonly client: RegistryClient,
    readonly blobs: Blobs,
    readonly chunkSize: number | undefined,
  ) {}

  /**
   * Uploads or mounts a blob.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is not what the descriptor says: it does not
   *   become part of the repository; what `open` throws
   */
  async push(call: UploadCall): Promise<Pushed> {
    const { retries, retryDelay } = this.client.exchange.settings;
    for (let attempt = 1; ; attempt++) {
      const chunkSize = this.#chunkSizeOf(call);
      try {
        // An upload whose answer was lost may have come to its end.
        if (attempt > 1 && (await this.blobs.exists(call))) return 'uploaded';
        return await this.#try(call, chunkSize);
      } catch (error) {
        if (!(error instanceof AirliftError)) throw error;
        if (error.status === 413 && chunkSize === undefined) {
          this.#limitChunks(call, defaultChunk);
          continue;
        }
        const mayPass = error.code === 'network' || (error.status !== undefined && isPassing(error.status));
        if (!mayPass || attempt > retries) throw error;
      }
      await pause(backoff(attempt, retryDelay), call.doing, call.signal);
    }
  }

  /** The size of chunks for a host; undefined for whole blobs. */
  #chunkSizeOf({ endpoint }: UploadCall): number | undefined {
    return this.chunkSize ?? this.#chunkSizes.get(endpoint.origin);
  }

  /** Notes what a host took, or may take. Of uploads at a time each finds out by itself, and the smallest size holds. */
  #limitChunks({ endpoint }: UploadCall, size: number): void {
    this.#chunkSizes.set(endpoint.origin, Math.min(size, this.#chunkSizes.get(endpoint.origin) ?? size));
  }

  async #try(call: UploadCall, chunkSize: number | undefined): Promise<Pushed> {
    const session = await startUpload(this.client, call);
    if (session === undefined) return 'mounted';
    try {
      if (chunkSize === undefined || call.descriptor.size === 0) await this.#putWhole(call, session);
      else await this.#putInChunks(call, session, chunkSize);
    } catch (error) {
      await cancelUpload(this.client, session, call);
      throw error;
    }
    return 'uploaded';
  }

  async #putWhole(call: UploadCall, session: UploadSession): Promise<void> {
    const content = wholeContent(call.descriptor, call.open);
    if (content.size > 0) return this.#end(call, session.url, { body: content, once: true });
    for await (const chunk of content.open()) void chunk;
    return this.#end(call, session.url, { body: new Uint8Array() });
  }

  async #putInChunks(call: UploadCall, session: UploadSession, chunkSize: number): Promise<void> {
    const upload = new ChunkedUpload(this.client, call, session, chunkSize);
    const url = await upload.send();
    if (this.chunkSize === undefined) this.#limitChunks(call, upload.chunkSize);
    await this.#end(call, url, { body: new Uint8Array() });
  }

  /** The request that makes the blob a part of the repository. */
  async #end(call: UploadCall, session: URL, content: Pick<Call, 'body' | 'once'>): Promise<void> {
    const url = new URL(session);
    // Appended as text: setting a parameter would write the others anew, and they may be signed.
    url.search += `${url.search === '' ? '' : '&'}digest=${encodeURIComponent(call.descriptor.digest)}`;
    const headers = { 'content-type': 'application/octet-stream' };
    const request: Call = { ...uploadRequest('PUT', url, call), headers, ...content };
    const answer = await this.client.send(request);
    if (answer.status < 200 || answer.status >= 300) throw await this.client.refusal(answer, request, 'blob');
    await discard(answer);
    checkHeld(answer, call.descriptor.digest, call.doing);
  }
}
