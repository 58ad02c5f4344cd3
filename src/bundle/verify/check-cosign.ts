import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, type Digest } from '../../oci/digest.js';
import { isAirliftError } from '../../errors.js';
import { maxManifestSize, parseManifest, type Manifest } from '../../oci/manifest.js';
import { formatReference, type Reference } from '../../oci/reference.js';
import type { Authority, ImageSigner, Verdict } from '../../signing/authority.js';
import { isSigstoreBundle, simpleSigning } from '../../signing/cosign.js';
import type { Catalog } from '../format/catalog.js';
import type { BundleFile } from '../format/file.js';
import type { Findings } from './findings.js';

/** Who must have signed an image. */
export interface SignerRule {
  /** Name of the policy that says so, printable; undefined if the user said it. */
  readonly policy?: string | undefined;
  /** One of them must accept a signature; without any, the rule rejects the image, whoever signed it. */
  readonly authorities: readonly Authority[];
  /** What a policy without authorities says about the images that it rejects, printable. */
  readonly message?: string | undefined;
  /** Whether an image that does not meet the rule is accepted with a warning. */
  readonly onlyWarns?: boolean | undefined;
}

/** All rules that an image must meet; without any, it needs no signature. A text says why it is rejected, whoever signed it. */
export type Requirement = readonly SignerRule[] | string;

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
  /** Which policies it does not meet that only warn, and why. */
  readonly warnings?: readonly string[] | undefined;
}

/** The largest signature that is read (bytes). */
const maxSignature = 1024 * 1024;

/** The most signatures of one image that are checked. */
const maxSignatures = 100;

/** The most reasons listed for one image. */
const maxReasons = 4;

/** A signature that a rule accepts. */
interface Accepted {
  readonly signer: ImageSigner;
  readonly signed: Digest;
  readonly form: 'tag' | 'referrer';
}

/** What the signatures of one image say so far. */
interface Checked {
  found: number;
  readonly accepted: Map<SignerRule, Accepted>;
  /** Why a rule accepts no signature. */
  readonly refusals: ReadonlyMap<SignerRule, Set<string>>;
}

/** Tells why an image does not meet a rule. */
function reasonOf({ policy, authorities, message }: SignerRule, found: number, refusals: string[]): string {
  const reason =
    authorities.length === 0
      ? `rejected${message === undefined ? '' : `: ${message}`}`
      : found === 0
        ? 'no signature of cosign travels with it'
        : `none of its ${found} signatures of cosign is accepted: ${refusals.join('; ')}`;
  return policy === undefined ? reason : `policy ${policy}: ${reason}`;
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
      const { result, refused } = await this.#checkImage(reference, root.digest, original);
      results.push({ reference: name, digest: root.digest, ...result });
      for (const reason of refused) findings.report('signature', name, reason, root.digest);
    }
    return results;
  }

  /** Returns what is known about an image, and why it is refused, if so. */
  async #checkImage(
    reference: Reference,
    digest: Digest,
    original: Descriptor | undefined,
  ): Promise<{ result: Omit<ImageSignature, 'reference' | 'digest'>; refused: readonly string[] }> {
    const rules = this.requirementOf(reference);
    if (typeof rules === 'string') return { result: { found: 0 }, refused: [rules] };
    if (rules.length === 0) return { result: { found: 0, allowedUnsigned: true }, refused: [] };
    const checked: Checked = {
      found: 0,
      accepted: new Map(),
      refusals: new Map(rules.map((rule) => [rule, new Set<string>()])),
    };
    for (const signed of original === undefined ? [digest] : [digest, original.digest])
      if (checked.accepted.size < rules.length) await this.#check(signed, rules, checked);
    const { found, accepted, refusals } = checked;
    const refused: string[] = [];
    const warnings: string[] = [];
    for (const rule of rules) {
      if (accepted.has(rule)) continue;
      const reason = reasonOf(rule, found, [...(refusals.get(rule) ?? [])]);
      (rule.onlyWarns === true ? warnings : refused).push(reason);
    }
    const known = { found, ...(warnings.length > 0 && { warnings }) };
    const signatures = rules.flatMap((rule) => accepted.get(rule) ?? []);
    const [first] = signatures;
    if (first === undefined || refused.length > 0) return { result: known, refused };
    // The rules may accept signatures of both; what was cut is worth a word.
    const { signed, form } = signatures.find((one) => one.signed !== digest) ?? first;
    return { result: { signed, signers: signatures.map(({ signer }) => signer), form, ...known }, refused };
  }

  /** Checks the signatures of one digest until each rule accepts one. */
  async #check(digest: Digest, rules: readonly SignerRule[], checked: Checked): Promise<void> {
    let found = 0;
    const places = [
      ...(this.#tagged.get(digest) ?? []).map((descriptor) => ({ descriptor, form: 'tag' as const })),
      ...this.catalog.referrers(digest).map((descriptor) => ({ descriptor, form: 'referrer' as const })),
    ];
    for (const { descriptor, form } of places) {
      for (const layer of (await this.#manifest(descriptor))?.layers ?? []) {
        const isPayload = layer.mediaType === simpleSigning;
        if (!isPayload && !isSigstoreBundle(layer.mediaType)) continue;
        checked.found++;
        if (++found > maxSignatures) return;
        const bytes = await this.#read(layer.digest, maxSignature);
        if (bytes === undefined) continue;
        const verdictOf = (authority: Authority): Verdict =>
          isPayload
            ? authority.checkPayload(bytes, layer.annotations ?? {}, digest)
            : authority.checkBundle(bytes, digest);
        for (const rule of rules) {
          if (checked.accepted.has(rule)) continue;
          const refusals = checked.refusals.get(rule);
          for (const authority of rule.authorities) {
            const verdict = verdictOf(authority);
            if ('signer' in verdict) {
              checked.accepted.set(rule, { signer: verdict.signer, signed: digest, form });
              break;
            }
            if (refusals !== undefined && refusals.size < maxReasons) refusals.add(verdict.refusal);
          }
        }
        if (checked.accepted.size === rules.length) return;
      }
    }
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
