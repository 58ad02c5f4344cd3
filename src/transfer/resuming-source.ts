import { Readable } from 'node:stream';
import { changedSource, type Source } from '../oci/source.js';
import { openResuming } from './resuming-stream.js';

/**
 * Returns a source whose streams resume after a break, so that an upload that reads them does not restart.
 * @param retries how often to resume a broken stream without any progress in between
 * @param resumeSignal aborts the opening of streams, also when they are reopened after a break
 */
export function resumingSource(source: Source, retries: number, resumeSignal?: AbortSignal): Source {
  return changedSource(source, {
    fetch: async (repository, descriptor, { offset, signal = resumeSignal } = {}) => {
      const content = await openResuming(source, repository, descriptor, {
        offset,
        retries,
        signal,
        resumeSignal: resumeSignal ?? signal,
      });
      return Readable.from(content, { objectMode: false });
    },
  });
}
