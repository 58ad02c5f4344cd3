import { AirliftError, isAirliftError } from '../../errors.js';
import { backoff, pause } from '../../oci/pause.js';
import { discard, isPassing } from '../http/answers.js';
import type { RegistryClient } from '../api/client.js';
import { lastChunk, PiecewiseContent } from './sent-content.js';
import {
  askReached,
  locationOf,
  lostUpload,
  received,
  uploadRequest,
  type UploadCall,
  type UploadSession,
} from './upload-session.js';
import { headerOf } from '../http/headers.js';
import type { WireAnswer } from '../http/wire.js';

/** Below this a registry that still finds chunks too large is not served any further. */
const smallestChunk = 256 * 1024;

/** An upload in chunks (distribution-spec, "Pushing a blob in chunks"). */
export class ChunkedUpload {
  readonly #content: PiecewiseContent;
  #url: URL;
  #offset: number;
  #faults = 0;
  #isLost = false;
  #isFirstHeld = false;

  /**
   * @param chunkSize is made larger where the registry wants that, and smaller where it takes no such chunks
   * @param offset bytes that the registry has of an earlier try
   * @param onMoved is told where the upload goes on after each chunk
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

  /** Whether the registry said that it does not know the upload any more. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /**
   * Sends all chunks. After a fault the registry is asked how far it got.
   * @returns the address to end the upload at
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is wrong; `network` where the session is lost;
   *   what else the registry answered
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
    const last = lastChunk(call.signal, () => piece.left());
    let answer: WireAnswer;
    try {
      answer = await client.send({
        ...request,
        signal: last.signal,
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
      last.end();
    }
    const { status } = answer;
    if (status >= 200 && status < 300) {
      await discard(answer);
      this.#accept(answer, length);
      await this.onMoved({ ...this.session, url: this.#url });
      return;
    }
    // The chunk may still be being read, for nobody.
    this.#content.close();
    const refusal = await client.refusal(answer, request, 'chunk');
    if (status === 413 && this.chunkSize / 4 >= Math.max(smallestChunk, this.session.minChunk)) {
      this.chunkSize = Math.floor(this.chunkSize / 4);
      return;
    }
    if (status === 404) throw this.#lost(status, refusal);
    if (status !== 416 && !isPassing(status)) throw refusal;
    await this.#recover(refusal);
    // One byte is told like none; whoever refuses the first byte has it.
    if (status !== 416 || offset > 0 || this.#offset > 0) return;
    this.#isFirstHeld = true;
    this.#offset = 1;
  }

  #accept(answer: WireAnswer, length: number): void {
    const sent = this.#offset + length;
    // One byte is told like none.
    const reached = sent === 1 ? sent : (received(answer) ?? sent);
    if (reached > sent)
      throw new AirliftError(
        'registry',
        `${this.call.doing}: the registry has more than was sent; got ${reached} bytes, want ${sent}`,
      );
    if (headerOf(answer, 'location') !== undefined) this.#url = locationOf(answer, this.call);
    if (reached <= this.#offset) this.#countFault();
    else this.#faults = 0;
    this.#offset = reached;
  }

  /** Waits, and asks how far the registry got. */
  async #recover(fault: AirliftError): Promise<void> {
    const { client, call } = this;
    this.#countFault(fault);
    const { retryDelay, closing } = client.exchange.settings;
    await pause(backoff(this.#faults, retryDelay), call.doing, call.signal, closing);
    const reached = await askReached(client, this.#url, call);
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
    throw (
      fault ?? new AirliftError('registry', `${this.call.doing}: the registry takes in no more of the blob`)
    );
  }
}
