import { AirliftError, checkInterrupted } from '../errors.js';
import { algorithmOf, digestOf } from '../oci/digest.js';
import { maxManifestSize } from '../oci/manifest.js';
import { checkCatalogRows, checkHeadContent } from './check-catalog.js';
import { checkGraph } from './check-graph.js';
import { checkIndexFile, takeCatalogGraph } from './check-images.js';
import { checkSums } from './check-sums.js';
import { Evidence } from './evidence.js';
import { blobPath } from './format.js';
import { damagedHint } from './head.js';
import type { BundleReader } from './reader.js';

/** Problems that one error tells. */
const maxShown = 10;

/**
 * Checks what stands before the layers of a bundle as `verify` does: the head, and every manifest with what it names. Whoever
 * publishes a bundle or writes it anew does so first, so that damage is found before anything is published or written.
 * @throws AirliftError `damaged` that names what is wrong, `interrupted`, `io`
 */
export async function checkFront(reader: BundleReader, signal?: AbortSignal): Promise<void> {
  const { catalog, file, head, path } = reader;
  const evidence = new Evidence();
  try {
    for (const { digest, size, kind, offset } of reader.blobs()) {
      evidence.describe(digest, { size, kind, leftOut: offset === undefined });
      if (offset !== undefined) evidence.place(digest, head.start + offset);
    }
    takeCatalogGraph(catalog, evidence);
    await checkSums(file, head, evidence);
    await checkIndexFile(file, head.entries.get('index.json'), catalog, evidence);
    await checkDocuments(reader, evidence, signal);
    await checkGraph(file, evidence, true);
    checkCatalogRows(catalog, evidence);
    await checkHeadContent(file, head, catalog, evidence);
    const problems = [...evidence.problems()].map(({ thing, detail }) => `${thing}: ${detail}`);
    const [first, ...others] = problems;
    if (first === undefined) return;
    const rest = others.length - maxShown;
    const lines = rest > 0 ? [...others.slice(0, maxShown), `and ${rest} more`] : others;
    throw new AirliftError('damaged', `read ${path}: ${first}`, { lines, hint: damagedHint });
  } finally {
    evidence.close();
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
