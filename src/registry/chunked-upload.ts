import { AirliftError, isAirliftError } from '../errors.js';
import { discard } from './answers.js';
import { backoff, isPassing, pause } from './backoff.js';
import type { RegistryClient } from './client.js';
import { PiecewiseContent } from './sent-content.js';
import { locationOf, uploadRequest, type UploadCall, type UploadSession } from './upload-session.js';
import { headerOf, type WireAnswer } from './wire.js';

/** Below this a registry that still finds chunks too large is not served any further. */
const smallestChunk = 256 * 1024;

/** How many bytes a registry says that it has, by a `Range` header like `0-1023`. */
function received(answer: WireAnswer): number | undefined {
  const match = /(?:^|=)0-(\d{1,15})$/.exec(headerOf(answer, 'range')?.trim() ?? '');
  if (match === null) return undefined;
  // Registries with nothing say `0-0` as well.
  return match[1] === '0' ? 0 : Number(match[1]) + 1;
}

/** An upload in chunks (distribution-spec, "Pushing a blob in chunks"). */
export class ChunkedUpload {
  readonly #content: PiecewiseContent;
  #url: URL;
  #offset = 0;
  #faults = 0;

  /** @param chunkSize is made larger where the registry wants that, and smaller where it takes no such chunks */
  constructor(
    readonly client: RegistryClient,
    readonly call: UploadCall,
    readonly session: UploadSession,
    public chunkSize: number,
  ) {
    this.#content = new PiecewiseContent(call.descriptor, call.open);
    this.#url = session.url;
    this.chunkSize = Math.max(chunkSize, session.minChunk, 1);
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
    let answer: WireAnswer;
    try {
      answer = await client.send({
        ...request,
        headers: {
          'content-type': 'application/octet-stream',
          'content-range': `${offset}-${offset + length - 1}`,
        },
        body: this.#content.piece(offset, length),
        once: true,
      });
    } catch (error) {
      if (!isAirliftError(error, 'network')) throw error;
      this.#content.close();
      await this.#recover(error);
      return;
    }
    const { status } = answer;
    if (status >= 200 && status < 300) {
      await discard(answer);
      this.#accept(answer, length);
      return;
    }
    // The chunk may still be being read, for nobody.
    this.#content.close();
    const refusal = await client.refusal(answer, request, 'chunk');
    if (status === 413 && this.chunkSize / 4 >= Math.max(smallestChunk, this.session.minChunk)) {
      this.chunkSize = Math.floor(this.chunkSize / 4);
      return;
    }
    if (status !== 416 && !isPassing(status)) throw refusal;
    await this.#recover(refusal);
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
    await pause(backoff(this.#faults, client.exchange.settings.retryDelay), call.doing, call.signal);
    const request = uploadRequest('GET', this.#url, call);
    const answer = await client.send(request);
    await discard(answer);
    const reached = received(answer);
    if (
      answer.status < 200 ||
      answer.status >= 300 ||
      reached === undefined ||
      reached > call.descriptor.size
    )
      throw new AirliftError('network', `${call.doing}: the registry lost the upload (${answer.status})`, {
        cause: fault,
      });
    if (headerOf(answer, 'location') !== undefined) this.#url = locationOf(answer, call);
    if (reached > this.#offset) this.#faults = 0;
    this.#offset = reached;
  }

  #countFault(fault?: AirliftError): void {
    if (++this.#faults <= this.client.exchange.settings.retries) return;
    throw (
      fault ?? new AirliftError('registry', `${this.call.doing}: the registry takes in no more of the blob`)
    );
  }
}
