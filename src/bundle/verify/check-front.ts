import { AirliftError, checkInterrupted } from '../../errors.js';
import { algorithmOf, digestOf } from '../../oci/digest.js';
import { maxManifestSize } from '../../oci/manifest.js';
import { checkCatalogRows, checkHeadContent } from './check-catalog.js';
import { checkGraph } from './check-graph.js';
import { checkIndexFile, takeCatalogGraph } from './check-images.js';
import { checkSums } from './check-sums.js';
import { Evidence } from './findings.js';
import { blobPath } from '../../oci/image-layout.js';
import { damagedHint } from '../format/head.js';
import { HeadDigests } from '../format/sums.js';
import { BundleReader } from '../reader.js';

/** Problems that one error names: one in its message, the others on lines of their own. */
const maxShown = 11;

/**
 * Checks what stands before the layers of a bundle as `verify` does: the head, and every manifest with what it names. Whoever
 * publishes a bundle or writes it anew does so first, so that damage is found before anything is published or written.
 * @throws AirliftError `damaged` that names what is wrong, `interrupted`, `io`
 */
async function checkFront(reader: BundleReader, signal?: AbortSignal): Promise<void> {
  const problems = await problemsOf(reader, signal);
  if (problems === undefined) return;
  const [first, ...lines] = problems;
  throw new AirliftError('damaged', `read ${reader.path}: ${first}`, {
    lines,
    hint: damagedHint,
  });
}

/**
 * Checks the file of a bundle that is about to get its name in the same way: `verify` must accept what was written.
 * @param path the partial file
 * @throws AirliftError `damaged` that names what `verify` would refuse, `interrupted`, `io`
 */
export async function checkWritten(path: string, signal?: AbortSignal): Promise<void> {
  const reader = await BundleReader.open(path);
  try {
    const problems = await problemsOf(reader, signal);
    if (problems === undefined) return;
    const [first, ...lines] = problems;
    throw new AirliftError('damaged', `finish ${path}: verify would refuse it: ${first}`, {
      lines,
      hint: 'run the same command again; if it fails again, leave out the images that these blobs belong to',
    });
  } finally {
    await reader.close();
  }
}

async function problemsOf(
  reader: BundleReader,
  signal: AbortSignal | undefined,
): Promise<ReturnType<Evidence['problemLines']>> {
  const { catalog, file, head } = reader;
  const evidence = new Evidence();
  try {
    for (const { digest, size, kind, offset } of reader.blobs()) {
      evidence.describe(digest, { size, kind, leftOut: offset === undefined });
      if (offset !== undefined) evidence.place(digest, head.start + offset);
    }
    takeCatalogGraph(catalog, evidence);
    const headDigests = new HeadDigests(file, head);
    await checkSums(headDigests, evidence);
    await checkIndexFile(file, head.entries.get('index.json'), catalog, evidence);
    await checkDocuments(reader, evidence, signal);
    await checkGraph(file, evidence, true);
    checkCatalogRows(catalog, evidence);
    await checkHeadContent(headDigests, catalog, evidence);
    return evidence.problemLines(maxShown);
  } finally {
    evidence.close();
  }
}

/**
 * Opens a bundle whose head and manifests are found right.
 * @param name what messages call it
 */
export async function openChecked(path: string, signal?: AbortSignal, name?: string): Promise<BundleReader> {
  const reader = await BundleReader.open(path, name);
  try {
    await checkFront(reader, signal);
    return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/** Hashes every manifest, index and config: they stand side by side at the beginning of the file. */
async function checkDocuments(
  reader: BundleReader,
  evidence: Evidence,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const { digest, size, kind, offset } of reader.blobs()) {
    checkInterrupted(signal, `read ${reader.path}`);
    if (kind === 'layer' || offset === undefined || size > maxManifestSize) continue;
    const got = digestOf(await reader.file.read(reader.head.start + offset, size), algorithmOf(digest));
    if (got === digest) evidence.approve(evidence.idOf(digest));
    else evidence.report('digest', blobPath(digest), `digest mismatch; got ${got}, want ${digest}`, digest);
  }
}

/**
 * Whether damage of the bundle is behind an error: every blob that the error names is hashed.
 * @returns the error to tell instead, or the same one
 */
export async function orDamage(reader: BundleReader, error: unknown): Promise<unknown> {
  if (!(error instanceof AirliftError) || error.code === 'interrupted') return error;
  for (const [name] of error.message.matchAll(/sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})\b/g)) {
    const damage = await reader.damageOf(name);
    if (damage !== undefined)
      return new AirliftError('damaged', `read ${reader.path}: ${damage}`, {
        cause: error,
        hint: damagedHint,
      });
  }
  return error;
}
