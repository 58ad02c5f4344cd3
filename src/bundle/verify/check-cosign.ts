import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../../oci/digest.js';
import { isAirliftError } from '../../errors.js';
import { maxManifestSize, parseManifest, type Manifest } from '../../oci/manifest.js';
import { formatReference, type Reference } from '../../oci/reference.js';
import type { Authority, ImageSigner } from '../../signing/authority.js';
import { isSigstoreBundle, simpleSigning } from '../../signing/cosign.js';
import type { Catalog } from '../format/catalog.js';
import type { BundleFile } from '../format/file.js';
import type { Findings } from './findings.js';

/**
 * Who must have signed an image: one authority of each group. Without a group, it needs no signature; a text says why it is rejected
 * whoever signed it.
 */
export type Requirement = readonly (readonly Authority[])[] | string;

/** What is known about the signature of an image; plain data. */
export interface ImageSignature {
  readonly reference: string;
  /** Digest of the manifest or index that the reference names. */
  readonly digest: Digest;
  /**
   * The digest that is signed: `digest`, or that of the publisher's index from which it was cut. Undefined if no accepted signature
   * travels with the image.
   */
  readonly signed?: Digest | undefined;
  /** Who signed it, one for each rule that applies. */
  readonly signers?: readonly ImageSigner[] | undefined;
  /** How the signature is attached: under a tag of cosign, or as a referrer. */
  readonly form?: 'tag' | 'referrer' | undefined;
  /** Number of signatures of cosign that travel with the image, by anybody. */
  readonly found: number;
  /** True if a policy lets it go without a signature. */
  readonly allowedUnsigned?: boolean | undefined;
}

/** The largest signature that is read (bytes). */
const maxSignature = 1024 * 1024;

/** The most signatures of one image that are checked. */
const maxSignatures = 100;

/** The most reasons that are told of one image. */
const maxReasons = 4;

/** The signatures of one digest. */
interface Checked {
  readonly found: number;
  /** One for each group; undefined unless all groups accept a signature. */
  readonly signers?: readonly ImageSigner[];
  readonly form?: 'tag' | 'referrer' | undefined;
  /** Why signatures were refused. */
  readonly refusals: ReadonlySet<string>;
}

/** Checks the signatures of images that travel in a bundle. */
export class CosignCheck {
  /** Roots of the images under cosign's signature tags, by the digest that they belong to. */
  readonly #tagged = new Map<Digest, Descriptor[]>();

  /**
   * @param start position of the first blob's header in the file
   * @param requirementOf tells who must have signed an image
   */
  constructor(
    private readonly file: BundleFile,
    private readonly catalog: Catalog,
    private readonly start: number,
    private readonly requirementOf: (reference: Reference) => Requirement,
  ) {
    for (const { reference, companionOf, root } of catalog.images()) {
      if (companionOf === undefined || reference.tag?.endsWith('.sig') !== true) continue;
      this.#tagged.set(companionOf, [...(this.#tagged.get(companionOf) ?? []), root]);
    }
  }

  /** Checks every image that is not a signature itself. An image without an accepted signature is a problem. */
  async check(findings: Findings): Promise<ImageSignature[]> {
    const results: ImageSignature[] = [];
    for (const { reference, root, original, companionOf } of this.catalog.images()) {
      if (companionOf !== undefined) continue;
      const name = formatReference(reference);
      const { result, refusal } = await this.#checkImage(reference, root.digest, original);
      results.push({ reference: name, digest: root.digest, ...result });
      if (refusal !== undefined) findings.report('signature', name, refusal, root.digest);
    }
    return results;
  }

  async #checkImage(
    reference: Reference,
    digest: Digest,
    original: Descriptor | undefined,
  ): Promise<{ result: Omit<ImageSignature, 'reference' | 'digest'>; refusal?: string }> {
    const requirement = this.requirementOf(reference);
    if (typeof requirement === 'string') return { result: { found: 0 }, refusal: requirement };
    if (requirement.length === 0) return { result: { found: 0, allowedUnsigned: true } };
    let found = 0;
    const refusals = new Set<string>();
    for (const signed of original === undefined ? [digest] : [digest, original.digest]) {
      const checked = await this.#check(signed, requirement);
      found += checked.found;
      const { signers, form } = checked;
      if (signers !== undefined) return { result: { signed, signers, form, found } };
      for (const reason of checked.refusals) refusals.add(reason);
    }
    const reasons = [...refusals].slice(0, maxReasons).join('; ');
    const refusal =
      found === 0
        ? 'no signature of cosign travels with it'
        : `none of its ${found} signatures of cosign is accepted: ${reasons}`;
    return { result: { found }, refusal };
  }

  async #check(digest: Digest, groups: readonly (readonly Authority[])[]): Promise<Checked> {
    let found = 0;
    let form: 'tag' | 'referrer' | undefined;
    const signers = new Map<number, ImageSigner>();
    const refusals = new Set<string>();
    const places = [
      ...(this.#tagged.get(digest) ?? []).map((descriptor) => ({ descriptor, form: 'tag' as const })),
      ...this.catalog.referrers(digest).map((descriptor) => ({ descriptor, form: 'referrer' as const })),
    ];
    for (const place of places) {
      for (const layer of (await this.#manifest(place.descriptor))?.layers ?? []) {
        const isPayload = layer.mediaType === simpleSigning;
        if (!isPayload && !isSigstoreBundle(layer.mediaType)) continue;
        found++;
        if (found > maxSignatures) return { found, refusals };
        const bytes = await this.#read(layer.digest, maxSignature);
        if (bytes === undefined) continue;
        for (const [at, authorities] of groups.entries()) {
          for (const authority of signers.has(at) ? [] : authorities) {
            const verdict = isPayload
              ? authority.checkPayload(bytes, layer.annotations ?? {}, digest)
              : authority.checkBundle(bytes, digest);
            if ('refusal' in verdict) {
              if (refusals.size < maxReasons) refusals.add(verdict.refusal);
              continue;
            }
            signers.set(at, verdict.signer);
            form ??= place.form;
            break;
          }
        }
        if (signers.size === groups.length)
          return {
            found,
            signers: [...signers].sort(([left], [right]) => left - right).map(([, signer]) => signer),
            form,
            refusals,
          };
      }
    }
    return { found, refusals };
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
