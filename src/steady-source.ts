import { Readable } from 'node:stream';
import type { Descriptor } from './oci/descriptor.js';
import type { Digest } from './oci/digest.js';
import type { Reference, Repository } from './oci/reference.js';
import type { FetchOptions, Source } from './oci/source.js';
import { steadyContent } from './steady-stream.js';

/** A source whose streams go on behind a break, so that an upload which they feed need not begin again. */
export class SteadySource implements Source {
  constructor(
    private readonly source: Source,
    /** How often a broken stream is taken up again without any byte of progress between. */
    private readonly retries: number,
  ) {}

  resolve(reference: Reference, options?: FetchOptions): Promise<Descriptor> {
    return this.source.resolve(reference, options);
  }

  referrers(repository: Repository, digest: Digest, options?: FetchOptions): AsyncIterable<Descriptor> {
    return this.source.referrers(repository, digest, options);
  }

  fetch(repository: Repository, descriptor: Descriptor, options: FetchOptions = {}): Promise<Readable> {
    const content = steadyContent(this.source, repository, descriptor, { ...options, retries: this.retries });
    return Promise.resolve(Readable.from(content, { objectMode: false }));
  }
}
