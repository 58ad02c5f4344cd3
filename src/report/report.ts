import { formatTime } from '../oci/time.js';
import { BundleReader } from '../bundle/reader.js';
import { ImageSizes } from '../bundle/format/image-sizes.js';
import type { SharedBytes } from '../bundle/report.js';
import { HeadDigests } from '../bundle/format/sums.js';
import { findVolumes, signedPath } from '../bundle/format/volumes/find.js';
import { signaturesOf } from '../bundle/verify/check-signatures.js';
import type { DiffOptions } from '../diff.js';
import { checkInterrupted, isAirliftError } from '../errors.js';
import { isObject } from '../oci/descriptor.js';
import { digestOf, isDigest, type Digest } from '../oci/digest.js';
import { attestationSubject, parseJsonObject, parseManifest, type Manifest } from '../oci/manifest.js';
import { isImageConfig, isManifest } from '../oci/media-types.js';
import { formatReference } from '../oci/reference.js';
import { CatalogBase } from '../receipts/open-base.js';
import { cosignKeysOf } from '../signing/cosign.js';
import { readPublicKeys, type PublicKey } from '../signing/public-key.js';
import type { SignatureReport } from '../signing/signatures.js';
import { attachedLayers, attachedReferrer, type Attached, type FoundAttached } from './attached.js';
import { checkAttached } from './attached-signature.js';
import { mainLabelsOf } from './labels.js';
import { Packages, type ReportedPackage } from './packages.js';
import { deltaOf, sinceBases, withBases, type ReportedDelta, type ReportedSince } from './since.js';

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
  /** Whether it is new since the given bases. */
  readonly change?: 'added' | 'moved' | 'unchanged' | undefined;
  /** Bytes of its blobs that no base has; other images may share them. */
  readonly newBytes?: number | undefined;
}

/** A file of a bundle in volumes. */
export interface ReportedVolume {
  readonly name: string;
  readonly size: number;
  /** Undefined without a list of volumes. */
  readonly digest?: Digest | undefined;
}

/** What a bundle contains, for people and for other programs; plain data. */
export interface Report {
  readonly kind: 'bundle';
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** The creation time that the bundle states (RFC 3339, UTC). */
  readonly created: string;
  /** Digest of `SHA256SUMS`, which covers the content of the bundle. */
  readonly sums: Digest | undefined;
  /** The volumes of the bundle; none if it is one file. */
  readonly volumes: readonly ReportedVolume[];
  /** The signatures of the bundle, inside it and in files beside it. */
  readonly signedBy: readonly SignatureReport[];
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
  /** What is new since the given bases. */
  readonly since?: ReportedSince | undefined;
  /** What a delta leaves out. */
  readonly delta?: ReportedDelta | undefined;
  /** What could not be read, one sentence each. */
  readonly notes: readonly string[];
}

/** Maximum number of labels of a platform, and of characters of a label. */
const maxLabels = 200;
const maxLabelLength = 2000;
const maxNotes = 100;
/** Maximum number of characters of all labels; of further platforms only the labels in the table are listed, each cut. */
const maxLabelText = 32 * 1024 * 1024;
const maxCutLabel = 200;
/** Maximum number of signatures, attestations and SBOMs in a report, and of characters of their types. */
const maxAttached = 100_000;
const maxTypeLength = 300;
/** Maximum number of signatures of an image that are checked. */
const maxChecked = 200;

function stringsIn(value: unknown): [string, string][] {
  if (!isObject(value)) return [];
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return entries.map(([key, text]) => [key.slice(0, maxLabelLength), text.slice(0, maxLabelLength)]);
}

/** Gathers the report on one bundle. */
class Gatherer {
  readonly packages = new Packages();
  readonly notes: string[] = [];
  readonly sizes: ImageSizes;
  readonly #companions = new Map<Digest, Digest[]>();
  #labelText = 0;
  #attached = 0;

  constructor(
    readonly reader: BundleReader,
    private readonly cosignKeys: readonly PublicKey[],
  ) {
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
      this.note(error.message);
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
    return {
      created: typeof created === 'string' ? created.slice(0, 64) : undefined,
      labels: this.#bounded(labels),
    };
  }

  /** Cuts labels after the limit for all of them: a hostile bundle would fill the memory and the page. */
  #bounded(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    for (const [name, text] of Object.entries(labels)) this.#labelText += name.length + text.length;
    if (this.#labelText <= maxLabelText) return labels;
    this.note('the images have more labels than a report can hold: only the main ones of some are listed');
    const main = Object.entries(mainLabelsOf(labels));
    return Object.fromEntries(main.map(([name, text]) => [name, text.slice(0, maxCutLabel)]));
  }

  note(text: string): void {
    if (this.notes.length < maxNotes && !this.notes.includes(text)) this.notes.push(text);
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
      if (kind !== 'sbom' || content === undefined) continue;
      if (this.reader.catalog.blob(content.digest)?.leftOut === 'base')
        this.note(
          'this delta leaves SBOMs out, which the site has: the report on its base lists their packages',
        );
      else await this.#noting(() => this.packages.add(this.reader, content, reference), undefined);
    }
    const platforms: ReportedPlatform[] = [];
    for (const part of this.sizes.platforms(reference)) {
      const read = await this.#noting(() => this.#labelsOf(manifests.get(part.digest)), { labels: {} });
      platforms.push({ ...part, ...read });
    }
    const size = this.sizes.image(reference);
    return {
      reference,
      digest: root,
      original,
      size,
      ownBytes,
      platforms,
      attached: await this.#signed(found),
    };
  }

  /** Checks who signed what is attached to an image. */
  async #signed(found: readonly FoundAttached[]): Promise<Attached[]> {
    const attached: Attached[] = [];
    for (const [at, { content, ...one }] of found.entries()) {
      if (this.#attached++ >= maxAttached) {
        this.note('the images have more signatures and other artifacts than a report can hold');
        break;
      }
      const keys = at < maxChecked ? this.cosignKeys : [];
      const check = (): ReturnType<typeof checkAttached> =>
        checkAttached(this.reader, { ...one, content }, keys);
      attached.push({
        ...one,
        type: one.type.slice(0, maxTypeLength),
        signature: await this.#noting(check, { state: 'unchecked' }),
      });
    }
    return attached;
  }
}

export interface ReportOptions {
  /** Earlier bundles, catalogs or receipts: the report says what is new since. */
  readonly base?: readonly string[] | undefined;
  /** How import names images at the site of a receipt among the bases. */
  readonly naming?: DiffOptions['naming'];
  /** Paths of public keys, or of directories of them, to check the signatures of the bundle with. */
  readonly keys?: readonly string[] | undefined;
  /** Paths of public keys of cosign, or of directories of them, to check the signatures of images with. */
  readonly cosignKeys?: readonly string[] | undefined;
  /** Directories that hold volumes of the bundle, besides the one of its path. */
  readonly volumeDirs?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Adds to each image whether it is new. */
function withChanges(images: readonly ReportedImage[], since: ReportedSince | undefined): ReportedImage[] {
  if (since === undefined) return [...images];
  const changes = new Map(since.changes.map((change) => [change.reference, change]));
  return images.map((image) => {
    const found = changes.get(image.reference);
    if (found === undefined || found.change === 'removed')
      return { ...image, change: 'unchanged', newBytes: 0 };
    return { ...image, change: found.change, newBytes: found.newBytes };
  });
}

/**
 * Reads what a bundle contains: images, platforms, labels, signatures, attestations, packages, what images share, and what is new since
 * earlier bundles. Reads manifests, configs and SBOMs and checks their digests; does not read layers. Content that cannot be read becomes
 * a note.
 * @throws AirliftError `input` if the file is not a bundle, `damaged` if its head is damaged, `unsupported`, `usage` for a key of a wrong kind,
 *   `interrupted`, `io`
 */
export async function reportOn(path: string, options: ReportOptions = {}): Promise<Report> {
  const { base = [], naming, volumeDirs = [], signal } = options;
  const keys = await readPublicKeys(options.keys ?? []);
  const cosignKeys = cosignKeysOf(await readPublicKeys(options.cosignKeys ?? []));
  const found = await findVolumes(path, volumeDirs);
  const reader = await BundleReader.open(found === undefined ? path : { path, volumeDirs });
  try {
    const gatherer = new Gatherer(reader, cosignKeys);
    const sharing = gatherer.sizes.sharing();
    const { blobs, blobBytes, leftOut, leftOutBytes } = reader.counts();
    const images: ReportedImage[] = [];
    for (const { reference, root, original, companionOf } of reader.images()) {
      checkInterrupted(signal, `report on ${path}`);
      if (companionOf !== undefined) continue;
      const name = formatReference(reference);
      images.push(await gatherer.image(name, root.digest, original?.digest, sharing.own.get(name) ?? 0));
    }
    if (gatherer.packages.isFull) gatherer.notes.push('the SBOMs list more packages than a report can hold');
    const sums = await new HeadDigests(reader.file, reader.head).ofSums();
    const created = formatTime(reader.created);
    const compared = await withBases(base, async (bases) => {
      const place = { kind: 'bundle', time: created, digest: sums ?? digestOf(Buffer.alloc(0)) } as const;
      const own = new CatalogBase(path, place, reader.catalog, () => Promise.resolve());
      const since = bases.length === 0 ? undefined : await sinceBases(bases, own, { naming, signal });
      return { since, delta: await deltaOf(own, bases) };
    });
    return {
      kind: 'bundle',
      bundle: path,
      size: reader.size,
      created,
      sums,
      volumes: (found?.volumes ?? []).map(({ name, size, digest }) => ({ name, size, digest })),
      signedBy: await signaturesOf(reader.file, reader.head, await signedPath(path), keys),
      blobs,
      blobBytes,
      leftOut,
      leftOutBytes,
      images: withChanges(images, compared.since),
      shared: sharing.shared,
      packages: gatherer.packages.list(),
      ...compared,
      notes: gatherer.notes,
    };
  } finally {
    await reader.close();
  }
}
