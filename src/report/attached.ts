import { X509Certificate } from 'node:crypto';
import type { BundleReader } from '../bundle/reader.js';
import { isObject, type Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { parseJsonObject, type Manifest } from '../oci/manifest.js';

/** What is attached to an image: a signature, a statement about it, a list of its packages, or any other artifact. */
export type AttachedKind = 'signature' | 'attestation' | 'sbom' | 'artifact';

/**
 * Whether a given key signed content that is attached to an image:
 *
 * - `valid`: one of the keys signed it, about exactly this manifest · `other-key`: none of the keys did
 * - `unchecked`: no key was given, or airlift cannot check signatures of this kind
 */
export interface AttachedSignature {
  readonly state: 'valid' | 'other-key' | 'unchecked';
  /** The id and the file of the key that made a valid signature. */
  readonly keyId?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** A signature, attestation, SBOM or other artifact that a bundle carries for an image; plain data. */
export interface Attached {
  readonly kind: AttachedKind;
  /** The predicate type of an attestation, the format of an SBOM, else the artifact type or media type. */
  readonly type: string;
  /** The manifest that contains it. */
  readonly digest: Digest;
  /** The manifest or index that it describes. */
  readonly subject: Digest;
  /** The names in the certificate that travels with it, as the certificate states them. The report does not verify them. */
  readonly statedSigner?: string | undefined;
  /** Undefined for content that is not signed, such as the attestations of BuildKit. */
  readonly signature?: AttachedSignature | undefined;
}

/** Attached content, with the blob that may hold a list of packages. */
export interface FoundAttached extends Attached {
  readonly content?: Descriptor | undefined;
}

const cosignSignPredicate = 'https://sigstore.dev/cosign/sign/v1';

/** Media types and predicate types of lists of packages name one of these formats. */
function isPackageList(type: string): boolean {
  return /spdx|cyclonedx|syft/i.test(type);
}

function kindOf(type: string): AttachedKind {
  if (isPackageList(type)) return 'sbom';
  if (/simplesigning|notary\.signature|cosign\.artifact\.sig/.test(type)) return 'signature';
  return /in-toto|dsse/.test(type) ? 'attestation' : 'artifact';
}

function namesIn(certificate: string | Buffer): string | undefined {
  try {
    const { subjectAltName, subject } = new X509Certificate(certificate);
    return (subjectAltName ?? subject).slice(0, 500);
  } catch {
    return undefined;
  }
}

/** Returns the type of the predicate that an envelope of DSSE contains. */
function predicateTypeIn(envelope: unknown, what: string): string | undefined {
  const payload = isObject(envelope) ? envelope['payload'] : undefined;
  if (typeof payload !== 'string') return undefined;
  const { predicateType } = parseJsonObject(Buffer.from(payload, 'base64'), what);
  return typeof predicateType === 'string' ? predicateType.slice(0, 500) : undefined;
}

/** Reads a sigstore bundle: the type of its statement, and the names in its certificate (sigstore protobuf-specs, `sigstore_bundle.proto`). */
async function readSigstoreBundle(
  reader: BundleReader,
  { digest }: Descriptor,
): Promise<{ readonly predicate: string | undefined; readonly statedSigner: string | undefined }> {
  const what = `sigstore bundle ${digest}`;
  const { verificationMaterial, dsseEnvelope } = parseJsonObject(await reader.read(digest), what);
  return { predicate: predicateTypeIn(dsseEnvelope, what), statedSigner: signerIn(verificationMaterial) };
}

function signerIn(verificationMaterial: unknown): string | undefined {
  if (!isObject(verificationMaterial)) return undefined;
  const { certificate, x509CertificateChain } = verificationMaterial;
  const chain: unknown = isObject(x509CertificateChain) ? x509CertificateChain['certificates'] : undefined;
  const first: unknown = Array.isArray(chain) ? chain[0] : certificate;
  const bytes = isObject(first) ? first['rawBytes'] : undefined;
  return typeof bytes === 'string' ? namesIn(Buffer.from(bytes, 'base64')) : undefined;
}

/** Describes the layers of a manifest under one of cosign's tags, or of an attestation of BuildKit: each is a statement of its own. */
export function attachedLayers(manifest: Manifest, digest: Digest, subject: Digest): FoundAttached[] {
  return manifest.layers.map((content) => {
    const notes = content.annotations ?? {};
    const predicate = notes['predicateType'] ?? notes['in-toto.io/predicate-type'];
    const type = predicate ?? content.mediaType;
    const certificate = notes['dev.sigstore.cosign/certificate'];
    const statedSigner = certificate === undefined ? undefined : namesIn(certificate);
    return {
      kind: predicate === undefined || isPackageList(type) ? kindOf(type) : 'attestation',
      type,
      digest,
      subject,
      statedSigner,
      content,
    };
  });
}

/** Describes a manifest whose `subject` is an image (image-spec, manifest.md). */
export async function attachedReferrer(
  reader: BundleReader,
  manifest: Manifest,
  digest: Digest,
  subject: Digest,
): Promise<FoundAttached[]> {
  const type = manifest.artifactType ?? manifest.config?.mediaType ?? manifest.mediaType;
  const [content] = manifest.layers;
  if (content !== undefined && /sigstore\.bundle/.test(type)) {
    const { predicate, statedSigner } = await readSigstoreBundle(reader, content);
    const isSignature = predicate === undefined || predicate === cosignSignPredicate;
    const kind = isSignature ? 'signature' : isPackageList(predicate) ? 'sbom' : 'attestation';
    return [{ kind, type: predicate ?? type, digest, subject, statedSigner, content }];
  }
  if (/cosign|in-toto/.test(type) || /cosign/.test(content?.mediaType ?? ''))
    return attachedLayers(manifest, digest, subject);
  return [{ kind: kindOf(type), type, digest, subject, content }];
}
