import { AirliftError, isAirliftError } from '../../errors.js';
import { verdictOf } from '../../oci/guess.js';
import { backoff, pause } from '../../oci/pause.js';
import type { Pushed } from '../../oci/target.js';
import { discard, isPassing } from '../http/answers.js';
import type { Blobs } from '../api/blobs.js';
import { ChunkedUpload } from './chunked-upload.js';
import type { Call, RegistryClient } from '../api/client.js';
import { checkHeld } from '../api/manifests.js';
import { lastChunk, wholeContent } from './sent-content.js';
import type { UploadMemory } from './upload-memory.js';
import {
  askReached,
  cancelUpload,
  lostUpload,
  MountRefusals,
  startUpload,
  uploadRequest,
  type UploadCall,
  type UploadSession,
} from './upload-session.js';

/** What a registry that does not take a blob in one piece is first given. */
const defaultChunk = 32 * 1024 * 1024;

function statusOf(error: unknown): number {
  return error instanceof AirliftError ? (error.status ?? 0) : 0;
}

/** Puts blobs into repositories (distribution-spec, "Pushing blobs"): in one piece, or in chunks. */
export class Uploads {
  /** Sizes of chunks for hosts that did not take whole blobs. */
  readonly #chunkSizes = new Map<string, number>();
  readonly #mountRefusals = new MountRefusals();

  constructor(
    readonly client: RegistryClient,
    readonly blobs: Blobs,
    readonly chunkSize: number | undefined,
    readonly memory: UploadMemory,
  ) {}

  /**
   * Uploads or mounts a blob.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is not what the descriptor says: it does not
   *   become part of the repository; what `open` throws
   */
  async push(call: UploadCall): Promise<Pushed> {
    const { retries, retryDelay, closing } = this.client.exchange.settings;
    for (let attempt = 1; ; attempt++) {
      const chunkSize = this.#chunkSizeOf(call);
      try {
        // An upload whose answer was lost may have come to its end.
        if (attempt > 1 && (await this.#isThere(call))) return 'uploaded';
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
      await pause(backoff(attempt, retryDelay), call.doing, call.signal, closing);
    }
  }

  async #isThere(call: UploadCall): Promise<boolean> {
    try {
      return await this.blobs.exists(call);
    } catch (error) {
      if (verdictOf(error) === 'absent') return false;
      throw error;
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
    const begun = await this.#takeUp(call);
    if (begun !== undefined) {
      try {
        await this.#putInChunks(call, begun.session, begun.bytes, chunkSize);
        return 'uploaded';
      } catch (error) {
        // What the registry kept of an earlier try may be of no use.
        const isRefused =
          error instanceof AirliftError && error.status !== undefined && !isPassing(error.status);
        if (!isRefused) throw error;
      }
    }
    const session = await startUpload(this.client, call, this.#mountRefusals);
    if (session === undefined) return 'mounted';
    await this.memory.remember(call, session);
    if (chunkSize === undefined || call.descriptor.size === 0)
      await this.#ending(call, session, () => this.#putWhole(call, session));
    else await this.#putInChunks(call, session, 0, chunkSize);
    return 'uploaded';
  }

  /** An upload that broke off earlier, where the registry still knows it and has some of it. */
  async #takeUp(call: UploadCall): Promise<{ session: UploadSession; bytes: number } | undefined> {
    const session = await this.memory.recall(call);
    if (session === undefined) return undefined;
    const reached = await askReached(this.client, session.url, call).catch((error: unknown) => {
      // The address of an earlier run may lead to a host that is gone.
      if (isAirliftError(error, 'interrupted') || session.url.origin === call.endpoint.origin) throw error;
      return 0;
    });
    if (typeof reached !== 'number' && reached.bytes > 0)
      return { session: { ...session, url: reached.url }, bytes: reached.bytes };
    await this.memory.forget(call);
    if (typeof reached !== 'number') await cancelUpload(this.client, session, call);
    return undefined;
  }

  /** Does what ends an upload. It is kept for another try where that may go on with it, else the registry may forget it. */
  async #ending(
    call: UploadCall,
    session: UploadSession,
    work: () => Promise<void>,
    isLost = (): boolean => false,
  ): Promise<void> {
    try {
      await work();
      await this.memory.forget(call);
    } catch (error) {
      const mayGoOn = isAirliftError(error, 'network', 'interrupted') || isPassing(statusOf(error));
      if (mayGoOn && !isLost() && (await this.memory.recall(call)) !== undefined) throw error;
      await this.memory.forget(call);
      await cancelUpload(this.client, session, call);
      throw error;
    }
  }

  async #putWhole(call: UploadCall, session: UploadSession): Promise<void> {
    const content = wholeContent(call.descriptor, call.open);
    if (content.size > 0) {
      const last = lastChunk(call.signal, () => content.left());
      const request = { ...call, signal: last.signal };
      return this.#end(request, session.url, { body: content, once: true }).finally(() => last.end());
    }
    for await (const chunk of content.open()) void chunk;
    return this.#end(call, session.url, { body: new Uint8Array() });
  }

  /** @param offset bytes that the registry has already */
  async #putInChunks(
    call: UploadCall,
    session: UploadSession,
    offset: number,
    chunkSize: number | undefined,
  ): Promise<void> {
    // What is left of a blob that was to be sent in one piece is one piece.
    const size = chunkSize ?? call.descriptor.size;
    const upload = new ChunkedUpload(this.client, call, session, size, offset, (moved) =>
      this.memory.remember(call, moved),
    );
    const work = async (): Promise<void> => {
      const url = await upload.send();
      if (chunkSize !== undefined && this.chunkSize === undefined) this.#limitChunks(call, upload.chunkSize);
      // All of it is there: an interruption lets the registry take it in, unless that takes long.
      const last = lastChunk(call.signal, () => 0);
      const ending = { ...call, signal: last.signal };
      await this.#end(ending, url, { body: new Uint8Array() }).finally(() => last.end());
    };
    await this.#ending(call, session, work, () => upload.isLost);
  }

  /** The request that makes the blob a part of the repository. */
  async #end(call: UploadCall, session: URL, content: Pick<Call, 'body' | 'once'>): Promise<void> {
    const url = new URL(session);
    // Appended as text: setting a parameter would write the others anew, and they may be signed.
    url.search += `${url.search === '' ? '' : '&'}digest=${encodeURIComponent(call.descriptor.digest)}`;
    const headers = { 'content-type': 'application/octet-stream' };
    const request: Call = { ...uploadRequest('PUT', url, call), headers, ...content };
    const answer = await this.client.send(request);
    if (answer.status < 200 || answer.status >= 300) {
      const refusal = await this.client.refusal(answer, request, 'blob');
      throw answer.status === 404 ? lostUpload(call, 404, refusal) : refusal;
    }
    await discard(answer);
    checkHeld(answer, call.descriptor.digest, call.doing);
  }
}
