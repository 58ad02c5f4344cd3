import { Readable } from 'node:stream';
import type { Descriptor } from '../oci/descriptor.js';
import type { Repository } from '../oci/reference.js';
import { SourceWrapper, type FetchOptions, type Source } from '../oci/source.js';
import { openResuming } from './resuming-stream.js';

/** A source whose streams resume after a break, so that an upload that reads them does not restart. */
export class ResumingSource extends SourceWrapper {
  constructor(
    source: Source,
    /** How often to resume a broken stream without any progress in between. */
    private readonly retries: number,
    /** Aborts the opening of streams, also when they are reopened after a break. */
    private readonly signal?: AbortSignal,
  ) {
    super(source);
  }

  override async fetch(
    repository: Repository,
    descriptor: Descriptor,
    options: FetchOptions = {},
  ): Promise<Readable> {
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
