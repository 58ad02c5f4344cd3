import { Readable } from 'node:stream';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Reference, Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import { openResuming } from './resuming-stream.js';

/** A source whose streams resume after a break, so that an upload that reads them does not restart. */
export class ResumingSource implements Source {
  constructor(
    private readonly source: Source,
    /** How often to resume a broken stream without any progress in between. */
    private readonly retries: number,
    /** Aborts the opening of streams, also when they are reopened after a break. */
    private readonly signal?: AbortSignal,
  ) {}

  resolve(reference: Reference, options?: FetchOptions): Promise<Descriptor> {
    return this.source.resolve(reference, options);
  }

  referrers(repository: Repository, digest: Digest, options?: FetchOptions): AsyncIterable<Descriptor> {
    return this.source.referrers(repository, digest, options);
  }

  async distrust(repository: Repository, descriptor: Descriptor): Promise<boolean> {
    return (await this.source.distrust?.(repository, descriptor)) === true;
  }

  async fetch(repository: Repository, descriptor: Descriptor, options: FetchOptions = {}): Promise<Readable> {
    const { offset, signal = this.signal } = options;
    const content = await openResuming(this.source, repository, descriptor, {
      offset,
      retries: this.retries,
      signal,
      resumeSignal: this.signal ?? signal,
    });
    return Readable.from(content, { objectMode: false });
  }
}
