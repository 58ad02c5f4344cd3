import { AirliftError, isAirliftError } from '../../errors.js';
import { backoff, pause } from '../../oci/pause.js';
import { discard, isTransient } from '../http/responses.js';
import type { RegistryClient } from '../api/client.js';
import { gracefulSignal, PiecewiseContent } from './sent-content.js';
import {
  requestReached,
  locationOf,
  lostUpload,
  receivedBytes,
  uploadRequest,
  type UploadCall,
  type UploadSession,
} from './upload-session.js';
import { headerOf } from '../http/headers.js';
import type { WireResponse } from '../http/wire.js';

/** The smallest chunk to try if a registry rejects larger ones as too large. */
const smallestChunk = 256 * 1024;

/** Uploads a blob in chunks (distribution-spec, "Pushing a blob in chunks"). */
export class ChunkedUpload {
  readonly #content: PiecewiseContent;
  #url: URL;
  #offset: number;
  #faults = 0;
  #isLost = false;
  #isFirstHeld = false;

  /**
   * @param chunkSize wanted bytes per chunk; adapted to the minimum and maximum that the registry accepts
   * @param offset bytes that the registry has from an earlier attempt
   * @param onMoved called after each chunk with the session's new address
   */
  constructor(
    readonly client: RegistryClient,
    readonly call: UploadCall,
    readonly session: UploadSession,
    public chunkSize: number,
    offset: number,
    readonly onMoved: (session: UploadSession) => Promise<void>,
  ) {
    this.#content = new PiecewiseContent(call.descriptor, call.open);
    this.#url = session.url;
    this.#offset = offset;
    this.chunkSize = Math.max(chunkSize, session.minChunk, 1);
  }

  /** Whether the registry reported that it does not know the upload any more. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /**
   * Sends all chunks. After a fault it asks the registry how much it has and resumes there.
   * @returns the address that completes the upload
   * @throws AirliftError `digest-mismatch` or `size-mismatch` if the content is wrong; `network` if the session is lost; the error of
   *   the registry
   */
  async send(): Promise<URL> {
    const { size } = this.call.descriptor;
    try {
      while (this.#offset < size) await this.#sendChunk(Math.min(this.chunkSize, size - this.#offset));
      await this.#content.finish();
    } finally {
      this.#content.close();
    }
    return this.#url;
  }

  async #sendChunk(length: number): Promise<void> {
    const { client, call } = this;
    const request = uploadRequest('PATCH', this.#url, call);
    const offset = this.#offset;
    const piece = this.#content.piece(offset, length);
    const graceful = gracefulSignal(call.signal, () => piece.left());
    let response: WireResponse;
    try {
      response = await client.send({
        ...request,
        signal: graceful.signal,
        headers: {
          'content-type': 'application/octet-stream',
          'content-range': `${offset}-${offset + length - 1}`,
        },
        body: piece,
        once: true,
      });
    } catch (error) {
      if (!isAirliftError(error, 'network')) throw error;
      this.#content.close();
      await this.#recover(error);
      return;
    } finally {
      graceful.end();
    }
    const { status } = response;
    if (status >= 200 && status < 300) {
      await discard(response);
      this.#accept(response, length);
      await this.onMoved({ ...this.session, url: this.#url });
      return;
    }
    // The chunk may still be read although the request is over.
    this.#content.close();
    const rejection = await client.errorFor(response, request, 'chunk');
    if (status === 413 && this.chunkSize / 4 >= Math.max(smallestChunk, this.session.minChunk)) {
      this.chunkSize = Math.floor(this.chunkSize / 4);
      return;
    }
    if (status === 404) throw this.#lost(status, rejection);
    if (status !== 416 && !isTransient(status)) throw rejection;
    await this.#recover(rejection);
    // `Range: 0-0` may mean one byte or none: a registry that rejects the first byte already has it.
    if (status !== 416 || offset > 0 || this.#offset > 0) return;
    this.#isFirstHeld = true;
    this.#offset = 1;
  }

  #accept(response: WireResponse, length: number): void {
    const sent = this.#offset + length;
    // `Range: 0-0` may mean one byte or none.
    const reached = sent === 1 ? sent : (receivedBytes(response) ?? sent);
    if (reached > sent)
      throw new AirliftError(
        'registry',
        `${this.call.action}: the registry reports more than was sent; got ${reached} bytes, want ${sent}`,
      );
    if (headerOf(response, 'location') !== undefined) this.#url = locationOf(response, this.call);
    if (reached <= this.#offset) this.#countFault();
    else this.#faults = 0;
    this.#offset = reached;
  }

  /** Waits, then asks the registry how much it has. */
  async #recover(fault: AirliftError): Promise<void> {
    const { client, call } = this;
    this.#countFault(fault);
    const { retryDelay, closing } = client.exchange.settings;
    await pause(backoff(this.#faults, retryDelay), call.action, call.signal, closing);
    const reached = await requestReached(client, this.#url, call);
    if (typeof reached === 'number') throw this.#lost(reached, fault);
    this.#url = reached.url;
    if (reached.bytes > this.#offset) this.#faults = 0;
    this.#offset = this.#isFirstHeld ? Math.max(reached.bytes, 1) : reached.bytes;
  }

  #lost(status: number, cause: AirliftError): AirliftError {
    this.#isLost = true;
    return lostUpload(this.call, status, cause);
  }

  #countFault(fault?: AirliftError): void {
    if (++this.#faults <= this.client.exchange.settings.retries) return;
    throw fault ?? new AirliftError('registry', `${this.call.action}: the upload makes no progress`);
  }
}
