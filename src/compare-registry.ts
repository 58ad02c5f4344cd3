import { forEachOf } from './concurrency.js';
import { openChecked } from './bundle/verify/check-front.js';
import { requiredSignature } from './bundle/verify/check-signatures.js';
import type { BundleReader } from './bundle/reader.js';
import { isAirliftError } from './errors.js';
import type { Descriptor } from './oci/descriptor.js';
import type { Digest } from './oci/digest.js';
import { blobsOf, parseManifest } from './oci/manifest.js';
import { formatReference, type Reference } from './oci/reference.js';
import type { Image } from './oci/source.js';
import { taggedOf, type OriginalIndex } from './publish/publisher.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';
import { mapNames, siteReference, type Site } from './site/names.js';

export interface CompareOptions {
  /** Path of the bundle. */
  readonly bundle: string;
  /** The registry, and the names of the images there, as an import maps them. */
  readonly to: Site;
  /** Directories that hold volumes of the bundle, besides the one of its path. */
  readonly volumeDirs?: readonly string[] | undefined;
  /** Paths of public keys, or of directories of them: one of the keys must have signed the bundle. */
  readonly keys?: readonly string[] | undefined;
  /** Which index a tag points at if platforms were left out, as in an import. */
  readonly originalIndex?: OriginalIndex | undefined;
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  /** Images and blobs that are compared at a time; default: 8. */
  readonly concurrency?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Something that the registry lacks, or holds differently than the bundle. */
export interface Difference {
  readonly kind: 'tag' | 'manifest' | 'blob' | 'referrer';
  /** The name at the site of the image that it belongs to. */
  readonly image: string;
  readonly digest: Digest;
  readonly detail: string;
}

/** The result of comparing a bundle with a registry; plain data. */
export interface Comparison {
  readonly bundle: string;
  readonly target: string;
  /** True if the registry holds all that the bundle carries, under the same digests. */
  readonly ok: boolean;
  readonly images: number;
  /** Numbers of manifests and blobs that were compared, counted for each image. */
  readonly manifests: number;
  readonly blobs: number;
  /** The first differences. */
  readonly differences: readonly Difference[];
  /** The number of all differences. */
  readonly total: number;
  /** The publisher's indexes of filtered images that the registry lacks, as `name@digest`; they are no differences. */
  readonly lostPins: readonly string[];
}

const defaultConcurrency = 8;

/** The most differences that are listed. */
const maxListed = 10_000;

/** Compares images with a registry, and collects the differences. */
class Comparing {
  readonly differences: Difference[] = [];
  readonly lostPins: string[] = [];
  total = 0;
  manifests = 0;
  blobs = 0;

  constructor(
    private readonly reader: BundleReader,
    private readonly registry: Registry,
    private readonly options: CompareOptions,
  ) {}

  async image(image: Image): Promise<void> {
    const { to, originalIndex, signal } = this.options;
    const tagged = taggedOf(image, originalIndex);
    const name = siteReference(to, { source: image.reference, digest: tagged.digest });
    const found = await absentAsUndefined(this.registry.resolve(name, { signal }));
    if (found?.digest !== tagged.digest)
      this.#report('tag', name, tagged.digest, found === undefined ? 'missing' : `got ${found.digest}`);
    const seen = new Set<Digest>();
    await this.#tree(name, tagged, seen);
    const { original } = image;
    if (original === undefined || original.digest === tagged.digest) return;
    if (await this.registry.exists(name, original, { signal })) await this.#tree(name, original, seen);
    else this.lostPins.push(formatReference({ ...name, tag: undefined, digest: original.digest }));
  }

  #report(kind: Difference['kind'], name: Reference, digest: Digest, detail: string): void {
    this.total++;
    if (this.differences.length < maxListed)
      this.differences.push({ kind, image: formatReference(name), digest, detail });
  }

  /** Compares a manifest or index and everything below it that the bundle carries. */
  async #tree(name: Reference, descriptor: Descriptor, seen: Set<Digest>): Promise<void> {
    const { digest, mediaType } = descriptor;
    if (seen.has(digest)) return;
    seen.add(digest);
    this.manifests++;
    const { signal, concurrency = defaultConcurrency } = this.options;
    if (!(await this.#holdsManifest(name, descriptor))) return;
    const manifest = parseManifest(await this.reader.read(digest), mediaType, `manifest ${digest}`);
    if (manifest.kind === 'index') {
      for (const child of manifest.manifests)
        if (this.reader.position(child.digest) !== undefined) await this.#tree(name, child, seen);
    } else {
      const carried = blobsOf(manifest).filter((blob) => this.reader.position(blob.digest) !== undefined);
      const unseen = carried.filter((blob) => !seen.has(blob.digest));
      for (const blob of unseen) seen.add(blob.digest);
      await forEachOf(unseen, concurrency, async (blob) => {
        this.blobs++;
        if (!(await this.registry.exists(name, blob, { signal })))
          this.#report('blob', name, blob.digest, 'missing, or of another size');
      });
    }
    await this.#referrers(name, digest, seen);
  }

  /** Fetches the manifest: the registry client compares it with its digest. */
  async #holdsManifest(name: Reference, descriptor: Descriptor): Promise<boolean> {
    const { signal } = this.options;
    try {
      const content = await absentAsUndefined(this.registry.fetch(name, descriptor, { signal }));
      content?.destroy();
      if (content === undefined) this.#report('manifest', name, descriptor.digest, 'missing');
      return content !== undefined;
    } catch (error) {
      if (!isAirliftError(error, 'digest-mismatch', 'size-mismatch')) throw error;
      this.#report('manifest', name, descriptor.digest, error.message);
      return false;
    }
  }

  async #referrers(name: Reference, digest: Digest, seen: Set<Digest>): Promise<void> {
    const wanted = this.reader.catalog.referrers(digest);
    if (wanted.length === 0) return;
    const listed = new Set<Digest>();
    for await (const { digest: one } of this.registry.referrers(name, digest, {
      signal: this.options.signal,
    }))
      listed.add(one);
    for (const referrer of wanted) {
      if (listed.has(referrer.digest)) await this.#tree(name, referrer, seen);
      else this.#report('referrer', name, referrer.digest, `not listed as a referrer of ${digest}`);
    }
  }
}

async function absentAsUndefined<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (isAirliftError(error, 'not-found')) return undefined;
    throw error;
  }
}

/**
 * Compares a registry with a bundle: every tag, and every manifest, blob and referrer by its digest. Asks for manifests, which are hashed,
 * and for the presence and size of blobs, which stay in the registry.
 * @throws AirliftError `damaged` for a damaged bundle; errors of the registry, except for missing content
 */
export async function compareWithRegistry(options: CompareOptions): Promise<Comparison> {
  const { bundle, to, originalIndex, concurrency = defaultConcurrency, signal } = options;
  const requireSignature = await requiredSignature(options.keys);
  const reader = await openChecked(
    { path: bundle, volumeDirs: options.volumeDirs ?? [] },
    { signal, requireSignature },
  );
  const registry = new Registry(options.registry, options.hooks);
  try {
    const images = [...reader.images()];
    // Invalid names and names of two images fail here, as in an import.
    mapNames(
      to,
      images.map((image) => ({ source: image.reference, digest: taggedOf(image, originalIndex).digest })),
    );
    const comparing = new Comparing(reader, registry, options);
    await forEachOf(images, Math.min(concurrency, 4), (image) => comparing.image(image));
    const { differences, total, lostPins, manifests, blobs } = comparing;
    const target = to.prefix === undefined ? to.registry : `${to.registry}/${to.prefix}`;
    return {
      bundle,
      target,
      ok: total === 0,
      images: images.length,
      manifests,
      blobs,
      differences,
      total,
      lostPins,
    };
  } finally {
    await registry.close();
    await reader.close();
  }
}
