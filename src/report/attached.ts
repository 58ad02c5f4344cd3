import { X509Certificate } from 'node:crypto';
import type { BundleReader } from '../bundle/reader.js';
import { isObject, type Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { parseJsonObject, type Manifest } from '../oci/manifest.js';

/** What is attached to an image: a signature, a statement about it, a list of its packages, or any other artifact. */
export type AttachedKind = 'signature' | 'attestation' | 'sbom' | 'artifact';

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

/** Reads the names in the certificate of a sigstore bundle (sigstore protobuf-specs, `sigstore_bundle.proto`). */
async function signerOfSigstoreBundle(
  reader: BundleReader,
  { digest }: Descriptor,
): Promise<string | undefined> {
  const { verificationMaterial } = parseJsonObject(await reader.read(digest), `sigstore bundle ${digest}`);
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
    const predicate = manifest.annotations?.['dev.sigstore.bundle.predicateType'];
    const isSignature = predicate === undefined || predicate === cosignSignPredicate;
    const kind = isSignature ? 'signature' : isPackageList(predicate) ? 'sbom' : 'attestation';
    const statedSigner = await signerOfSigstoreBundle(reader, content);
    return [{ kind, type: predicate ?? type, digest, subject, statedSigner, content }];
  }
  if (/cosign|in-toto/.test(type) || /cosign/.test(content?.mediaType ?? ''))
    return attachedLayers(manifest, digest, subject);
  return [{ kind: kindOf(type), type, digest, subject, content }];
}
