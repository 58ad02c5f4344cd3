import { verify } from 'node:crypto';
import { AirliftError, isAirliftError } from '../errors.js';
import { isObject } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { parseJsonObject } from '../oci/manifest.js';
import type { PublicKey } from './public-key.js';

/** Media type of the payload that cosign signs under a tag, and as a referrer (cosign, SIGNATURE_SPEC). */
export const simpleSigning = 'application/vnd.dev.cosign.simplesigning.v1+json';

/** Annotations of such a payload's descriptor (cosign, SIGNATURE_SPEC). */
export const cosignAnnotations = {
  /** The signature, in base64. */
  signature: 'dev.cosignproject.cosign/signature',
  /** The signer's certificate, in PEM. */
  certificate: 'dev.sigstore.cosign/certificate',
  /** The entry of a transparency log, in JSON. */
  logEntry: 'dev.sigstore.cosign/bundle',
  /** A timestamp of the signature, in JSON. */
  timestamp: 'dev.sigstore.cosign/rfc3161timestamp',
} as const;

/** Media type of the envelope of an attestation under a tag of cosign. */
export const dsseEnvelope = 'application/vnd.dsse.envelope.v1+json';

/** Media types of the bundles that cosign 3 attaches as referrers (sigstore, protobuf-specs), without their version. */
const sigstoreBundle = /^application\/vnd\.dev\.sigstore\.bundle\.v0\.\d+\+json$/;

/** `critical.type` of cosign's payloads. */
const payloadTypes: readonly unknown[] = [
  'cosign container image signature',
  'https://sigstore.dev/cosign/sign/v1',
];

/** Type of a statement that signs an image, and states nothing else about it. */
const signPredicate = 'https://sigstore.dev/cosign/sign/v1';

/** Type of the payload of an envelope that holds a statement of in-toto. */
export const statementType = 'application/vnd.in-toto+json';

export function isSigstoreBundle(mediaType: string): boolean {
  return sigstoreBundle.test(mediaType);
}

function field(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value);
}

/** Parses untrusted JSON; undefined if it is malformed. */
function parse(bytes: Uint8Array, what: string): Record<string, unknown> | undefined {
  try {
    return parseJsonObject(bytes, what);
  } catch (error) {
    if (isAirliftError(error)) return undefined;
    throw error;
  }
}

function makerOf(content: Uint8Array, signature: unknown, keys: readonly PublicKey[]): PublicKey | undefined {
  if (typeof signature !== 'string') return undefined;
  const der = Buffer.from(signature, 'base64');
  return keys.find(({ key }) => verify('sha256', content, key, der));
}

/**
 * Finds the key that signed a payload of cosign which is about exactly this digest.
 * @param signature in base64
 */
export function keyOfPayload(
  payload: Uint8Array,
  signature: string | undefined,
  digest: Digest,
  keys: readonly PublicKey[],
): PublicKey | undefined {
  const maker = makerOf(payload, signature, keys);
  if (maker === undefined) return undefined;
  return signedByPayload(payload) === digest ? maker : undefined;
}

/** Returns the digest of the image that a payload of cosign signs, as it states it; undefined if it is no such payload. */
export function signedByPayload(payload: Uint8Array): string | undefined {
  const critical = field(parse(payload, 'payload of a signature'), 'critical');
  const digest = field(critical, 'image', 'docker-manifest-digest');
  return typeof digest === 'string' && payloadTypes.includes(field(critical, 'type')) ? digest : undefined;
}

/** Encodes what a DSSE envelope signs (secure-systems-lab/dsse, protocol.md, "PAE"). */
export function preAuthEncoding(type: string, payload: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `),
    payload,
  ]);
}

/** Finds the key that signed an envelope of DSSE whose statement is about exactly this digest, and the type of its predicate. */
function makerOfEnvelope(
  envelope: unknown,
  digest: Digest,
  keys: readonly PublicKey[],
): { readonly key: PublicKey; readonly predicateType: unknown } | undefined {
  const type = field(envelope, 'payloadType');
  const text = field(envelope, 'payload');
  const signatures = field(envelope, 'signatures');
  if (type !== statementType || typeof text !== 'string' || !Array.isArray(signatures)) return undefined;
  const payload = Buffer.from(text, 'base64');
  const content = preAuthEncoding(type, payload);
  // DSSE allows several signatures; cosign makes one.
  const key = signatures
    .slice(0, 8)
    .map((signature) => makerOf(content, field(signature, 'sig'), keys))
    .find((maker) => maker !== undefined);
  if (key === undefined) return undefined;
  const { subjects, predicateType } = statementOf(payload);
  return subjects.includes(digest) ? { key, predicateType } : undefined;
}

/** Reads a statement of in-toto: the digests it is about, and the type of its predicate. */
function statementOf(payload: Uint8Array): {
  readonly subjects: readonly string[];
  readonly predicateType: unknown;
} {
  const statement = parse(payload, 'statement of a signature');
  const subjects = field(statement, 'subject');
  return {
    subjects: Array.isArray(subjects)
      ? subjects.map((subject) => `sha256:${String(field(subject, 'digest', 'sha256'))}`)
      : [],
    predicateType: field(statement, 'predicateType'),
  };
}

/** Returns the digests that a statement signs; undefined if it is an attestation or something else. */
export function signedByStatement(payload: Uint8Array): readonly string[] | undefined {
  const { subjects, predicateType } = statementOf(payload);
  return predicateType === signPredicate ? subjects : undefined;
}

/** Finds the key that signed a sigstore bundle whose statement signs exactly this digest. */
export function keyOfSigstoreBundle(
  bytes: Uint8Array,
  digest: Digest,
  keys: readonly PublicKey[],
): PublicKey | undefined {
  const maker = makerOfEnvelope(field(parse(bytes, 'sigstore bundle'), 'dsseEnvelope'), digest, keys);
  return maker?.predicateType === signPredicate ? maker.key : undefined;
}

/**
 * Finds the key that signed an attestation about exactly this digest.
 * @param bytes an envelope of DSSE, as cosign attaches under a tag, or a sigstore bundle with one
 */
export function keyOfAttestation(
  bytes: Uint8Array,
  digest: Digest,
  keys: readonly PublicKey[],
): PublicKey | undefined {
  const json = parse(bytes, 'attestation');
  return makerOfEnvelope(json?.['dsseEnvelope'] ?? json, digest, keys)?.key;
}

/**
 * Checks that keys can have made signatures of cosign.
 * @throws AirliftError `usage` for a key of minisign
 */
export function cosignKeysOf(keys: readonly PublicKey[]): readonly PublicKey[] {
  const other = keys.find(({ format }) => format !== 'ecdsa-p256');
  if (other === undefined) return keys;
  throw new AirliftError('usage', `read key ${other.file}: a key of minisign; want a public key of cosign`);
}
