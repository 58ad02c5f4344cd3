import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../../oci/digest.js';
import { isAirliftError } from '../../errors.js';
import { maxManifestSize, parseManifest, type Manifest } from '../../oci/manifest.js';
import { formatReference } from '../../oci/reference.js';
import {
  isSigstoreBundle,
  keyOfPayload,
  keyOfSigstoreBundle,
  signatureAnnotation,
  simpleSigning,
} from '../../signing/cosign.js';
import type { PublicKey } from '../../signing/public-key.js';
import type { Catalog } from '../format/catalog.js';
import type { BundleFile } from '../format/file.js';
import type { Findings } from './findings.js';

/** What is known about the signature of an image; plain data. */
export interface ImageSignature {
  readonly reference: string;
  /** Digest of the manifest or index that the reference names. */
  readonly digest: Digest;
  /**
   * The digest that is signed: `digest`, or that of the publisher's index from which it was cut. Undefined if no signature by a given key
   * travels with the image.
   */
  readonly signed?: Digest | undefined;
  /** The id of the key. */
  readonly keyId?: string | undefined;
  /** How the signature is attached: under a tag of cosign, or as a referrer. */
  readonly form?: 'tag' | 'referrer' | undefined;
  /** Number of signatures of cosign that travel with the image, by any key. */
  readonly found: number;
}

/** The largest signature that is read (bytes). */
const maxSignature = 1024 * 1024;

/** The most signatures of one image that are checked. */
const maxSignatures = 100;

/** Checks the signatures of images that travel in a bundle. */
export class CosignCheck {
  /** Roots of the images under cosign's signature tags, by the digest that they belong to. */
  readonly #tagged = new Map<Digest, Descriptor[]>();

  /** @param start position of the first blob's header in the file */
  constructor(
    private readonly file: BundleFile,
    private readonly catalog: Catalog,
    private readonly start: number,
    private readonly keys: readonly PublicKey[],
  ) {
    for (const { reference, companionOf, root } of catalog.images()) {
      if (companionOf === undefined || reference.tag?.endsWith('.sig') !== true) continue;
      this.#tagged.set(companionOf, [...(this.#tagged.get(companionOf) ?? []), root]);
    }
  }

  /** Checks every image that is not a signature itself. An image without a valid signature is a problem. */
  async check(findings: Findings): Promise<ImageSignature[]> {
    const results: ImageSignature[] = [];
    for (const { reference, root, original, companionOf } of this.catalog.images()) {
      if (companionOf !== undefined) continue;
      const name = formatReference(reference);
      let found = 0;
      let result: ImageSignature | undefined;
      for (const { digest } of original === undefined ? [root] : [root, original]) {
        const checked = await this.#check(digest);
        found += checked.found;
        if (checked.key === undefined) continue;
        const { key, form } = checked;
        result = { reference: name, digest: root.digest, signed: digest, keyId: key.id, form, found };
        break;
      }
      results.push(result ?? { reference: name, digest: root.digest, found });
      if (result !== undefined) continue;
      const detail =
        found === 0
          ? 'no signature of cosign travels with it'
          : `none of its ${found} signatures of cosign is by the given key over this digest`;
      findings.report('signature', name, detail, root.digest);
    }
    return results;
  }

  async #check(
    digest: Digest,
  ): Promise<{ found: number; key?: PublicKey | undefined; form?: 'tag' | 'referrer' }> {
    let found = 0;
    const places = [
      ...(this.#tagged.get(digest) ?? []).map((descriptor) => ({ descriptor, form: 'tag' as const })),
      ...this.catalog.referrers(digest).map((descriptor) => ({ descriptor, form: 'referrer' as const })),
    ];
    for (const { descriptor, form } of places) {
      for (const layer of (await this.#manifest(descriptor))?.layers ?? []) {
        const isPayload = layer.mediaType === simpleSigning;
        if (!isPayload && !isSigstoreBundle(layer.mediaType)) continue;
        found++;
        if (found > maxSignatures) return { found };
        const bytes = await this.#read(layer.digest, maxSignature);
        if (bytes === undefined) continue;
        const key = isPayload
          ? keyOfPayload(bytes, layer.annotations?.[signatureAnnotation], digest, this.keys)
          : keyOfSigstoreBundle(bytes, digest, this.keys);
        if (key !== undefined) return { found, key, form };
      }
    }
    return { found };
  }

  async #manifest({ digest, mediaType }: Descriptor): Promise<Manifest | undefined> {
    const bytes = await this.#read(digest, maxManifestSize);
    if (bytes === undefined) return undefined;
    try {
      const manifest = parseManifest(bytes, mediaType, `manifest ${digest}`);
      return manifest.kind === 'manifest' ? manifest : undefined;
    } catch (error) {
      // The check of the graph reports it.
      if (isAirliftError(error)) return undefined;
      throw error;
    }
  }

  /** Reads a blob whose digest is right. */
  async #read(digest: Digest, most: number): Promise<Buffer | undefined> {
    const blob = this.catalog.blob(digest);
    if (blob?.offset === undefined || blob.size > most) return undefined;
    const bytes = await this.file.read(this.start + blob.offset, blob.size);
    return digestOf(bytes, algorithmOf(digest)) === digest ? bytes : undefined;
  }
}
