import { availableParallelism } from 'node:os';
import { findBlobsByName } from './bundle/verify/check-archive.js';
import { checkCatalogRows, checkHeadContent } from './bundle/verify/check-catalog.js';
import { checkContents, type CheckProgress } from './bundle/verify/check-contents.js';
import { EntryCheck } from './bundle/verify/check-entries.js';
import { checkGraph } from './bundle/verify/check-graph.js';
import { checkHead } from './bundle/verify/check-head.js';
import { checkIndexFile, takeCatalogGraph } from './bundle/verify/check-images.js';
import { checkSums } from './bundle/verify/check-sums.js';
import { EntryReader } from './bundle/format/entry-reader.js';
import { Findings, type Problem } from './bundle/verify/findings.js';
import { BundleFile } from './bundle/format/file.js';
import { HeadDigests } from './bundle/format/sums.js';
import type { Digest } from './oci/digest.js';

export interface VerifyOptions {
  /** Worker threads that read and hash; `min(2, cores)` by default. */
  readonly jobs?: number | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What came of checking a bundle; plain data. */
export interface VerifyReport {
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** Nothing was lost or changed. */
  readonly ok: boolean;
  /** Names in the bundle, signatures under tags among them. */
  readonly images: number;
  readonly signatures: number;
  /** Blobs that were found, manifests included, and their bytes; all of them were hashed. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Blobs that the bundle does not carry because the site has them. */
  readonly leftOut: number;
  /** The digest of `SHA256SUMS`; missing where the bundle lacks that. It stands for the bundle only where `ok`. */
  readonly sums: Digest | undefined;
  readonly problems: readonly Problem[];
}

/**
 * Checks every byte and every edge of a bundle: tar headers, the catalog, the lists of digests, every blob's digest, and
 * that each manifest's children are there. Damage does not stop it: all of it is in the report, with the images and
 * platforms that each problem breaks. Without a usable catalog it goes by the archive and `index.json` alone.
 * @throws AirliftError `input` where the file is no bundle, `unsupported` where a newer airlift wrote it, `interrupted`, `io`
 */
export async function verify(path: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const file = await BundleFile.open(path, 'r');
  const findings = new Findings();
  try {
    const reader = new EntryReader(file);
    const checked = await checkHead(reader, findings);
    const { catalog, ...head } = checked;
    const headDigests = new HeadDigests(file, head);
    try {
      if (catalog === undefined) await findBlobsByName(reader, head, findings);
      else {
        await new EntryCheck(reader, head, catalog, findings).check();
        takeCatalogGraph(catalog, findings);
      }
      await checkSums(headDigests, findings);
      await checkIndexFile(file, head.entries.get('index.json'), catalog, findings);
      const jobs = options.jobs ?? Math.min(2, availableParallelism());
      await checkContents(file, findings, { jobs, onProgress: options.onProgress, signal: options.signal });
      await checkGraph(file, findings, catalog !== undefined);
      if (catalog !== undefined) {
        checkCatalogRows(catalog, findings);
        await checkHeadContent(headDigests, catalog, findings);
      }
    } finally {
      catalog?.close();
    }
    const problems = [...findings.problems()];
    const { size } = await file.stat();
    const sums = await headDigests.ofSums();
    return { bundle: path, size, ok: problems.length === 0, ...findings.figures(), sums, problems };
  } finally {
    findings.close();
    await file.close();
  }
}
