import { BundleReader } from '../bundle/reader.js';
import { ImageSizes } from '../bundle/format/image-sizes.js';
import type { SharedBytes } from '../bundle/report.js';
import { HeadDigests } from '../bundle/format/sums.js';
import { checkInterrupted, isAirliftError } from '../errors.js';
import { isObject } from '../oci/descriptor.js';
import { isDigest, type Digest } from '../oci/digest.js';
import { attestationSubject, parseJsonObject, parseManifest, type Manifest } from '../oci/manifest.js';
import { isImageConfig, isManifest } from '../oci/media-types.js';
import { formatReference } from '../oci/reference.js';
import { attachedLayers, attachedReferrer, type Attached, type FoundAttached } from './attached.js';
import { Packages, type ReportedPackage } from './packages.js';

/** The manifest of one platform of an image, with what its config says. */
export interface ReportedPlatform {
  readonly platform: string;
  readonly digest: Digest;
  /** Bytes of its manifest, config and layers. */
  readonly size: number;
  /** Time of the build, as the config states it. */
  readonly created?: string | undefined;
  /** Labels of the config and annotations of the manifest, as the publisher wrote them. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface ReportedImage {
  readonly reference: string;
  readonly digest: Digest;
  /** Digest of the publisher's index, if some of its platforms are left out. */
  readonly original?: Digest | undefined;
  /** Bytes of everything that belongs to it, each blob once. */
  readonly size: number;
  /** Bytes that no other image of the bundle uses. */
  readonly ownBytes: number;
  readonly platforms: readonly ReportedPlatform[];
  readonly attached: readonly Attached[];
}

/** What a bundle contains, for people and for other programs; plain data. */
export interface Report {
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** The creation time that the bundle states (RFC 3339, UTC). */
  readonly created: string;
  /** Digest of `SHA256SUMS`, which covers the content of the bundle. */
  readonly sums: Digest | undefined;
  readonly blobs: number;
  readonly blobBytes: number;
  readonly leftOut: number;
  readonly leftOutBytes: number;
  /** The images, without signatures and other companions under tags of their own. */
  readonly images: readonly ReportedImage[];
  /** The bytes that several images use, by the number of images. */
  readonly shared: readonly SharedBytes[];
  /** The packages that the SBOMs in the bundle list. */
  readonly packages: readonly ReportedPackage[];
  /** What could not be read, one sentence each. */
  readonly notes: readonly string[];
}

/** Maximum number of labels of a platform, and of characters of a label. */
const maxLabels = 200;
const maxLabelLength = 2000;
const maxNotes = 100;

function stringsIn(value: unknown): [string, string][] {
  if (!isObject(value)) return [];
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return entries.map(([key, text]) => [key, text.slice(0, maxLabelLength)]);
}

/** Gathers the report on one bundle. */
class Gatherer {
  readonly packages = new Packages();
  readonly notes: string[] = [];
  readonly sizes: ImageSizes;
  readonly #companions = new Map<Digest, Digest[]>();

  constructor(readonly reader: BundleReader) {
    this.sizes = new ImageSizes(reader.catalog);
    for (const { companionOf, root } of reader.images()) {
      if (companionOf === undefined) continue;
      const list = this.#companions.get(companionOf);
      if (list === undefined) this.#companions.set(companionOf, [root.digest]);
      else list.push(root.digest);
    }
  }

  /** Runs a step whose input may be damaged or malformed; such input becomes a note. */
  async #noting<T>(step: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      return await step();
    } catch (error) {
      if (!isAirliftError(error) || error.code === 'interrupted') throw error;
      if (this.notes.length < maxNotes) this.notes.push(error.message);
      return otherwise;
    }
  }

  async #manifest(digest: Digest): Promise<ReturnType<typeof parseManifest>> {
    const type = this.reader.catalog.manifest(digest)?.mediaType;
    return parseManifest(await this.reader.read(digest), type, `manifest ${digest}`);
  }

  /** Reads the manifests of an image: those of platforms, and the attestations in its indexes. */
  async #walk(
    roots: readonly Digest[],
  ): Promise<{ manifests: Map<Digest, Manifest | undefined>; attached: FoundAttached[] }> {
    const manifests = new Map<Digest, Manifest | undefined>();
    const attached: FoundAttached[] = [];
    const waiting = [...roots];
    for (let digest = waiting.pop(); digest !== undefined; digest = waiting.pop()) {
      if (manifests.has(digest) || this.reader.catalog.blob(digest)?.offset === undefined) continue;
      manifests.set(digest, undefined);
      const parsed = await this.#manifest(digest);
      if (parsed.kind === 'manifest') {
        manifests.set(digest, parsed);
        continue;
      }
      for (const child of parsed.manifests) {
        const subject = child.annotations?.[attestationSubject];
        if (!isDigest(subject)) {
          if (isManifest(child.mediaType)) waiting.push(child.digest);
        } else if (this.reader.catalog.blob(child.digest)?.offset !== undefined) {
          const attestation = await this.#manifest(child.digest);
          if (attestation.kind === 'manifest')
            attached.push(...attachedLayers(attestation, child.digest, subject));
        }
      }
    }
    return { manifests, attached };
  }

  async #attachedTo(subject: Digest): Promise<FoundAttached[]> {
    const found: FoundAttached[] = [];
    for (const digest of this.#companions.get(subject) ?? []) {
      const manifest = await this.#manifest(digest);
      if (manifest.kind === 'manifest') found.push(...attachedLayers(manifest, digest, subject));
    }
    for (const { digest } of this.reader.catalog.referrers(subject)) {
      const manifest = await this.#manifest(digest);
      if (manifest.kind === 'manifest')
        found.push(...(await attachedReferrer(this.reader, manifest, digest, subject)));
    }
    return found;
  }

  async #labelsOf(manifest: Manifest | undefined): Promise<Pick<ReportedPlatform, 'created' | 'labels'>> {
    if (manifest?.config === undefined || !isImageConfig(manifest.config.mediaType)) return { labels: {} };
    const { digest } = manifest.config;
    const config = parseJsonObject(await this.reader.read(digest), `config ${digest}`);
    const { created } = config;
    const own = isObject(config['config']) ? stringsIn(config['config']['Labels']) : [];
    const labels = Object.fromEntries([...own, ...stringsIn(manifest.annotations)].slice(0, maxLabels));
    return { created: typeof created === 'string' ? created.slice(0, 64) : undefined, labels };
  }

  async image(
    reference: string,
    root: Digest,
    original: Digest | undefined,
    ownBytes: number,
  ): Promise<ReportedImage> {
    const roots = original === undefined ? [root] : [root, original];
    const empty = { manifests: new Map<Digest, Manifest | undefined>(), attached: [] };
    const { manifests, attached } = await this.#noting(() => this.#walk(roots), empty);
    const found = [...attached];
    for (const digest of manifests.keys())
      found.push(...(await this.#noting(() => this.#attachedTo(digest), [])));
    for (const { kind, content } of found) {
      if (kind === 'sbom' && content !== undefined)
        await this.#noting(() => this.packages.add(this.reader, content, reference), undefined);
    }
    const platforms: ReportedPlatform[] = [];
    for (const part of this.sizes.platforms(reference)) {
      const read = await this.#noting(() => this.#labelsOf(manifests.get(part.digest)), { labels: {} });
      platforms.push({ ...part, ...read });
    }
    return {
      reference,
      digest: root,
      original,
      size: this.sizes.image(reference),
      ownBytes,
      platforms,
      attached: found.map(({ kind, type, digest, subject, statedSigner }) => ({
        kind,
        type,
        digest,
        subject,
        statedSigner,
      })),
    };
  }
}

export interface ReportOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads what a bundle contains: images, platforms, labels, signatures, attestations, packages, and what images share. Reads manifests,
 * configs and SBOMs and checks their digests; does not read layers. Content that cannot be read becomes a note.
 * @throws AirliftError `input` if the file is not a bundle, `damaged` if its head is damaged, `unsupported`, `interrupted`, `io`
 */
export async function reportOn(path: string, options: ReportOptions = {}): Promise<Report> {
  const reader = await BundleReader.open(path);
  try {
    const gatherer = new Gatherer(reader);
    const sharing = gatherer.sizes.sharing();
    const { blobs, blobBytes, leftOut, leftOutBytes } = reader.counts();
    const images: ReportedImage[] = [];
    for (const { reference, root, original, companionOf } of reader.images()) {
      checkInterrupted(options.signal, `report on ${path}`);
      if (companionOf !== undefined) continue;
      const name = formatReference(reference);
      images.push(await gatherer.image(name, root.digest, original?.digest, sharing.own.get(name) ?? 0));
    }
    if (gatherer.packages.isFull) gatherer.notes.push('the SBOMs list more packages than a report can hold');
    return {
      bundle: path,
      size: reader.size,
      created: reader.created.toISOString().replace('.000Z', 'Z'),
      sums: await new HeadDigests(reader.file, reader.head).ofSums(),
      blobs,
      blobBytes,
      leftOut,
      leftOutBytes,
      images,
      shared: sharing.shared,
      packages: gatherer.packages.list(),
      notes: gatherer.notes,
    };
  } finally {
    await reader.close();
  }
}
