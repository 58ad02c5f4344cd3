import { isDigest, type Digest } from '../../oci/digest.js';
import { AirliftError } from '../../errors.js';
import { BundleFile } from './file.js';
import { entryNames } from './format.js';
import { readHead } from './head.js';
import { HeadDigests } from './head-digests.js';

/** The digest of a bundle's `SHA256SUMS`, which stands for all that the bundle holds; undefined where that is missing. */
export async function sumsDigestOf(digests: HeadDigests): Promise<Digest | undefined> {
  const entry = digests.head.entries.get(entryNames.sha256sums);
  const digest =
    entry === undefined ? undefined : `sha256:${await digests.sha256Of(entryNames.sha256sums, entry)}`;
  return isDigest(digest) ? digest : undefined;
}

/**
 * The digest of the `SHA256SUMS` of a bundle that was written, as it stands in the file.
 * @throws AirliftError `damaged`, `io`
 */
export async function sumsDigest(path: string): Promise<Digest> {
  const file = await BundleFile.open(path, 'r');
  try {
    const digest = await sumsDigestOf(new HeadDigests(file, await readHead(file)));
    if (digest !== undefined) return digest;
    throw new AirliftError('damaged', `open ${path}: ${entryNames.sha256sums} is missing`);
  } finally {
    await file.close();
  }
}
