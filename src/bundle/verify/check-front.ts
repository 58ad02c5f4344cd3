import { AirliftError, checkInterrupted } from '../../errors.js';
import { algorithmOf, digestOf } from '../../oci/digest.js';
import { maxManifestSize } from '../../oci/manifest.js';
import { checkCatalogRows, checkHeadContent } from './check-catalog.js';
import { checkGraph } from './check-graph.js';
import { checkIndexFile, addCatalogGraph } from './check-images.js';
import { checkRequired, type RequiredSignature } from './check-signatures.js';
import { checkSums } from './check-sums.js';
import { Findings } from './findings.js';
import { blobPath } from '../../oci/image-layout.js';
import type { BundleFile } from '../format/file.js';
import { entryNames } from '../format/format.js';
import { damagedHint, type Head } from '../format/head.js';
import { signedPath } from '../format/volumes/find.js';
import { withVolumes } from '../format/volumes/damage.js';
import { pathOf, type BundlePlace, type HeldFiles } from '../format/volumes/files.js';
import { HeadDigests } from '../format/sums.js';
import { BundleReader } from '../reader.js';
import { leftOutOf } from '../format/catalog.js';

/** The most problems that an error lists: the first in its message, the others on lines of their own. */
const maxShown = 11;

/**
 * Checks everything before the layers of a bundle as `verify` does: the head, and every manifest with its children. Import, save and serve do
 * this first, so that damage is found before anything is published or written.
 * @throws AirliftError `damaged` with the problems, `interrupted`, `io`
 */
async function checkFront(reader: BundleReader, signal?: AbortSignal): Promise<void> {
  const problems = await problemsOf(reader, signal);
  if (problems === undefined) return;
  const [first, ...lines] = problems;
  const { catalog, file, head } = reader;
  const damage = new AirliftError('damaged', `read ${reader.path}: ${first}`, { lines, hint: damagedHint });
  // Manifests and configs come before the layers.
  let length = head.start;
  for (const { kind, offset, size } of reader.blobs())
    if (kind !== 'layer' && offset !== undefined) length = Math.max(length, head.start + offset + size);
  throw withVolumes(damage, file, { position: 0, length }, { catalog, start: head.start });
}

/**
 * Checks a written bundle in the same way before it gets its final name: `verify` must accept it.
 * @param place of the partial file or volumes
 * @throws AirliftError `damaged` with the problems that `verify` would report, `interrupted`, `io`
 */
export async function checkWritten(place: BundlePlace, signal?: AbortSignal): Promise<void> {
  const reader = await BundleReader.open(place);
  try {
    const problems = await problemsOf(reader, signal);
    if (problems === undefined) return;
    const [first, ...lines] = problems;
    throw new AirliftError('damaged', `finish ${pathOf(place)}: verify would reject it: ${first}`, {
      lines,
      hint: 'run the same command again; if it fails again, remove the images that need these blobs from the list',
    });
  } finally {
    await reader.close();
  }
}

async function problemsOf(
  reader: BundleReader,
  signal: AbortSignal | undefined,
): Promise<ReturnType<Findings['problemLines']>> {
  const { catalog, file, head } = reader;
  const findings = new Findings();
  try {
    for (const blob of reader.blobs()) {
      const { digest, size, kind, offset } = blob;
      findings.describe(digest, { size, kind, leftOut: leftOutOf(blob) });
      if (offset !== undefined) findings.place(digest, head.start + offset);
    }
    addCatalogGraph(catalog, findings);
    const headDigests = new HeadDigests(file, head);
    await checkSums(headDigests, findings);
    await checkIndexFile(headDigests, catalog, findings);
    await checkDocuments(reader, findings, signal);
    await checkGraph(file, findings, true);
    await checkCatalogRows(file, catalog, findings);
    await checkHeadContent(headDigests, catalog, findings);
    return findings.problemLines(maxShown);
  } finally {
    findings.close();
  }
}

export interface OpenCheckedOptions {
  readonly signal?: AbortSignal | undefined;
  /** The bundle's name in messages, if its path means nothing to the user. */
  readonly name?: string | undefined;
  /** Keys of which one must have signed the bundle. */
  readonly requireSignature?: RequiredSignature | undefined;
  /** Called with the size of the catalog in bytes before its rows and the manifests are checked, which takes memory for a large one. */
  readonly onCatalogSize?: ((bytes: number) => void) | undefined;
}

/**
 * Opens a bundle and checks its signature, its head and its manifests.
 * @throws AirliftError as `BundleReader.open` does; `untrusted` for a required signature; `damaged` with the problems
 */
export async function openChecked(
  place: BundlePlace | HeldFiles,
  { signal, name, requireSignature, onCatalogSize }: OpenCheckedOptions = {},
): Promise<BundleReader> {
  const checkHead = async (file: BundleFile, head: Head): Promise<void> => {
    // First, so that the database and the manifests of an unknown maker are not even parsed.
    if (requireSignature !== undefined)
      await checkRequired(file, head, await signedPath(pathOf(place)), requireSignature);
    onCatalogSize?.(head.entries.get(entryNames.catalog)?.size ?? 0);
  };
  const reader = await BundleReader.open(place, name, checkHead);
  try {
    await checkFront(reader, signal);
    return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/** Hashes every manifest, index and config; they are adjacent, at the beginning of the file. */
async function checkDocuments(
  reader: BundleReader,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const { digest, size, kind, offset } of reader.blobs()) {
    checkInterrupted(signal, `read ${reader.path}`);
    if (kind === 'layer' || offset === undefined || size > maxManifestSize) continue;
    const got = digestOf(await reader.file.read(reader.head.start + offset, size), algorithmOf(digest));
    if (got === digest) findings.approve(findings.idOf(digest));
    else findings.report('digest', blobPath(digest), `digest mismatch; got ${got}, want ${digest}`, digest);
  }
}

/**
 * Finds out whether a damaged bundle caused an error, by hashing every blob that the error names.
 * @returns the error to report: `damaged`, or the same error
 */
export async function orDamage(reader: BundleReader, error: unknown): Promise<unknown> {
  if (!(error instanceof AirliftError) || error.code === 'interrupted') return error;
  for (const [name] of error.message.matchAll(/sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})\b/g)) {
    const damage = await reader.damageOf(name, error);
    if (damage !== undefined) return damage;
  }
  return error;
}
