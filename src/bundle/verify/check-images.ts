import { isAirliftError } from '../../errors.js';
import { parseDescriptor, type Descriptor } from '../../oci/descriptor.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { isIndex, isManifest } from '../../oci/media-types.js';
import { formatPlatform, type Platform } from '../../oci/platform.js';
import { formatReference } from '../../oci/reference.js';
import { subjectOfTag } from '../../oci/companion-tag.js';
import type { Catalog } from '../format/catalog.js';
import type { TarEntry } from '../format/entry-reader.js';
import { digestOfText } from './check-catalog.js';
import type { Findings } from './findings.js';
import type { BundleFile } from '../format/file.js';
import { entryNames } from '../format/format.js';
import { indexEntry, indexJson } from '../format/head-content.js';
import type { HeadDigests } from '../format/sums.js';

/** The most bytes of `index.json` to read: enough for 150,000 images. */
const maxIndexSize = 64 * 1024 * 1024;

function platformText(platform: Platform | undefined): string | undefined {
  return platform === undefined ? undefined : formatPlatform(platform);
}

/** Adds the catalog's images, manifests and edges to the findings. Its blobs must be added already. */
export function addCatalogGraph(catalog: Catalog, findings: Findings): void {
  const ids: number[] = [0];
  for (const { digest } of catalog.blobs()) ids.push(findings.idOf(digest));
  const at = (ordinal: number): number => ids[ordinal] ?? 0;
  for (const { digest, mediaType, platform } of catalog.manifests())
    findings.describe(digest, { mediaType, platform: platformText(platform) });
  for (const { parent, child, role, position } of catalog.edges())
    findings.addEdge(at(parent), at(child), { role, position, source: 'catalog' });
  for (const { reference, root, original, companionOf } of catalog.images()) {
    const subject = subjectOfTag(reference.tag);
    const want = subject === undefined || catalog.manifest(subject) === undefined ? undefined : subject;
    if (companionOf !== want)
      findings.report(
        'catalog',
        entryNames.catalog,
        `${formatReference(reference)} has the wrong companion_of; got ${companionOf ?? 'none'}, want ${want ?? 'none'}`,
        root.digest,
      );
    const other = original === undefined ? undefined : findings.idOf(original.digest);
    findings.addImage(formatReference(reference), findings.idOf(root.digest), other);
  }
}

/** Checks `index.json` against the catalog's images, or adds its images to the findings if there is no catalog. */
export async function checkIndexFile(
  headDigests: HeadDigests,
  catalog: Catalog | undefined,
  findings: Findings,
): Promise<void> {
  const { file, head } = headDigests;
  const entry = head.entries.get(entryNames.index);
  if (entry === undefined) return;
  const roots = new Map<string, Descriptor>();
  try {
    if (catalog !== undefined) {
      const got = await headDigests.sha256Of(entryNames.index, entry);
      // The usual case: the file has exactly the bytes that the rows of the catalog produce.
      if (got === digestOfText(indexJson(catalog.indexRows()))) {
        checkIndexRows(catalog);
        return;
      }
    }
    for (const descriptor of await readIndexFile(file, entry)) {
      const name =
        descriptor.annotations?.['org.opencontainers.image.ref.name'] ??
        descriptor.annotations?.['io.containerd.image.name'] ??
        descriptor.digest;
      if (roots.has(name)) findings.report('index', entryNames.index, `names ${JSON.stringify(name)} twice`);
      roots.set(name, descriptor);
    }
  } catch (error) {
    if (!isAirliftError(error, 'input')) throw error;
    findings.report('index', entryNames.index, error.message);
    return;
  }
  if (catalog === undefined) addRoots(roots, findings);
  else compareRoots(roots, catalog, findings);
}

/**
 * Parses the descriptors of the `index.json` that the catalog's rows produce, one by one: those of ten thousand images take 30 MB.
 * @throws AirliftError `input` if one is invalid
 */
function checkIndexRows(catalog: Catalog): void {
  let at = 0;
  for (const row of catalog.indexRows())
    parseDescriptor(JSON.parse(indexEntry(row)), `${entryNames.index} manifests[${at++}]`);
}

async function readIndexFile(file: BundleFile, entry: TarEntry): Promise<Descriptor[]> {
  const bytes = await file.read(entry.contentPosition, Math.min(entry.size, maxIndexSize));
  const { manifests } = parseJsonObject(bytes, entryNames.index);
  return (Array.isArray(manifests) ? manifests : []).map((item, at) =>
    parseDescriptor(item, `${entryNames.index} manifests[${at}]`),
  );
}

function addRoots(roots: ReadonlyMap<string, Descriptor>, findings: Findings): void {
  for (const [name, { digest, mediaType, platform, size }] of roots) {
    const kind = isIndex(mediaType) ? 'index' : isManifest(mediaType) ? 'manifest' : undefined;
    const id = findings.describe(digest, { mediaType, size, kind, platform: platformText(platform) });
    findings.addImage(name, id, undefined);
  }
}

function compareRoots(roots: Map<string, Descriptor>, catalog: Catalog, findings: Findings): void {
  const report = (detail: string, digest: Digest): void => {
    findings.report('index', entryNames.index, detail, digest);
  };
  for (const { reference, root } of catalog.images()) {
    const name = formatReference(reference);
    const got = roots.get(name);
    roots.delete(name);
    if (got === undefined) report(`does not name ${name}`, root.digest);
    else if (got.digest !== root.digest || got.size !== root.size || got.mediaType !== root.mediaType)
      report(
        `${name} differs from the catalog; got ${got.mediaType} ${got.digest}, want ${root.mediaType} ${root.digest}`,
        root.digest,
      );
  }
  for (const [name, { digest }] of roots)
    if (isDigest(digest))
      findings.report(
        'index',
        entryNames.index,
        `names ${JSON.stringify(name)}, which is not in the catalog`,
      );
}
