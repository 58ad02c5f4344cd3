import type { EntryReader } from '../format/entry-reader.js';
import type { Evidence } from './findings.js';
import { digestOfPath } from '../../oci/image-layout.js';
import type { Head } from '../format/head.js';
import { survey } from '../format/tar-walk.js';

/** Finds the blobs of a bundle without a catalog: by the names that the archive itself gives them. */
export async function surveyArchive(reader: EntryReader, head: Head, evidence: Evidence): Promise<void> {
  const isPlaced = evidence.database.prepare('SELECT 1 FROM blobs WHERE digest = ? AND position IS NOT NULL');
  const { size: fileSize } = await reader.file.stat();
  for await (const step of survey(reader, head.start)) {
    if (step.what === 'damaged') evidence.report('header', `byte ${step.position}`, 'no tar header');
    if (step.what === 'cut')
      evidence.report('missing', 'end of archive', `the file is cut off at byte ${step.position}`);
    if (step.what !== 'entry') continue;
    const { name, size, contentPosition } = step.entry;
    const digest = digestOfPath(name);
    if (digest === undefined || isPlaced.get(digest) !== undefined) {
      evidence.report(
        'extra',
        name,
        digest === undefined ? 'an entry that no bundle has' : 'the archive has it twice',
      );
      continue;
    }
    evidence.describe(digest, { size });
    if (contentPosition + size <= fileSize) evidence.place(digest, contentPosition);
    else {
      const got = Math.max(0, fileSize - contentPosition);
      evidence.report('missing', name, `the file is cut off; got ${got} bytes of it, want ${size}`, digest);
    }
  }
}
