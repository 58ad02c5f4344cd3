import type { EntryReader } from '../format/entry-reader.js';
import type { Findings } from './findings.js';
import { digestOfPath } from '../../oci/image-layout.js';
import type { Head } from '../format/head.js';
import { walkTar } from '../format/tar-walk.js';

/** Finds the blobs of a bundle that has no usable catalog, by the entry names of the archive. */
export async function findBlobsByName(reader: EntryReader, head: Head, findings: Findings): Promise<void> {
  const isPlaced = findings.database.prepare('SELECT 1 FROM blobs WHERE digest = ? AND position IS NOT NULL');
  const { size: fileSize } = await reader.file.stat();
  for await (const step of walkTar(reader, head.start)) {
    if (step.kind === 'damaged') findings.report('header', `byte ${step.position}`, 'not a tar header');
    if (step.kind === 'cut')
      findings.report('missing', 'end of archive', `the file is truncated at byte ${step.position}`);
    if (step.kind !== 'entry') continue;
    const { name, size, contentPosition } = step.entry;
    const digest = digestOfPath(name);
    if (digest === undefined || isPlaced.get(digest) !== undefined) {
      findings.report(
        'extra',
        name,
        digest === undefined ? 'not an entry of the bundle format' : 'duplicate entry',
      );
      continue;
    }
    findings.describe(digest, { size });
    if (contentPosition + size <= fileSize) findings.place(digest, contentPosition);
    else {
      const got = Math.max(0, fileSize - contentPosition);
      findings.report(
        'missing',
        name,
        `the file is truncated; got ${got} bytes of this blob, want ${size}`,
        digest,
      );
    }
  }
}
