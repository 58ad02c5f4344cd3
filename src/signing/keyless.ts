import { createHash, X509Certificate } from 'node:crypto';
import { bundleFromJSON, type Bundle } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, VerificationError, Verifier } from '@sigstore/verify';
import { AirliftError, messageOf } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { parseJsonObject } from '../oci/manifest.js';
import { printable } from '../oci/printable.js';
import type { Authority, Verdict } from './authority.js';
import { cosignAnnotations, signedByPayload, signedByStatement, statementType } from './cosign.js';

/** Who must have signed, by the certificate that a certificate authority issued to them. */
export interface WantedIdentity {
  /** Reports whether a subject of a certificate is the wanted one: an address of e-mail, or the URI of a workflow. */
  readonly isSubject: (subject: string) => boolean;
  /** Reports whether a certificate's issuer of OpenID Connect is the wanted one. */
  readonly isIssuer: (issuer: string) => boolean;
}

/** The most entries of a log, and the most timestamps, of one signature. */
const maxProofs = 8;

/** The most characters of a log's checkpoint, each signature of which is checked. */
const maxCheckpoint = 8192;

/** Media types of trusted roots (sigstore, protobuf-specs, `TrustedRoot`). */
const rootType = /^application\/vnd\.dev\.sigstore\.trustedroot(\+json;version=0\.\d+|\.v0\.\d+\+json)$/;

/** Extended key usage of certificates for signing (RFC 5280, 4.2.1.12). */
const codeSigning = '1.3.6.1.5.5.7.3.3';

/**
 * The library makes a regular expression of the name in a checkpoint, so the name must not be one that takes for ever.
 * (transparency-dev/formats, "Signed note").
 */
const plainName = /^[\w.:/-]{1,200}$/;

/**
 * Checks signatures that were made with certificates of a certificate authority (Fulcio) and recorded in a log (Rekor), offline. All
 * trust comes from a trusted root: authorities, logs and timestamp authorities, each with the time for which it is valid.
 */
export class KeylessAuthority implements Authority {
  private constructor(
    private readonly verifier: Verifier,
    private readonly wanted: readonly WantedIdentity[],
  ) {}

  /**
   * @param root content of `trusted_root.json`
   * @param name of the file, for errors
   * @param wanted of which one must have signed
   * @throws AirliftError `input` for a malformed trusted root
   */
  static of(root: Uint8Array, name: string, wanted: readonly WantedIdentity[]): KeylessAuthority {
    const json = parseJsonObject(root, `trusted root ${name}`);
    const wrong = (why: string, cause?: unknown): AirliftError =>
      new AirliftError('input', `read trusted root ${name}: ${why}`, {
        cause,
        hint: 'cosign trusted-root create writes one, and TUF repositories of sigstore hold it as trusted_root.json',
      });
    if (typeof json['mediaType'] !== 'string' || !rootType.test(json['mediaType']))
      throw wrong('not a trusted root of sigstore');
    try {
      const material = toTrustMaterial(TrustedRoot.fromJSON(json));
      if (material.certificateAuthorities.length === 0) throw wrong('it has no certificate authority');
      // As cosign: an entry of a log, a timestamp of it or of an authority, and proof that the certificate was logged.
      return new KeylessAuthority(new Verifier(material), wanted);
    } catch (error) {
      if (error instanceof AirliftError) throw error;
      throw wrong(`malformed: ${printable(messageOf(error))}`, error);
    }
  }

  checkPayload(payload: Uint8Array, annotations: Readonly<Record<string, string>>, digest: Digest): Verdict {
    if (annotations[cosignAnnotations.certificate] === undefined)
      return { refusal: 'it has no certificate: it is signed with a key' };
    if (annotations[cosignAnnotations.logEntry] === undefined) return { refusal: 'no entry of a log' };
    const signed = signedByPayload(payload);
    if (signed !== digest) return { refusal: otherDigest(signed) };
    return this.#verify(() => bundleOfAnnotations(payload, annotations), Buffer.from(payload));
  }

  checkBundle(bytes: Uint8Array, digest: Digest): Verdict {
    return this.#verify(() => {
      const bundle = bundleFromJSON(parseJsonObject(bytes, 'sigstore bundle'));
      const { content } = bundle;
      if (content.$case !== 'dsseEnvelope' || content.dsseEnvelope.payloadType !== statementType)
        throw new Refusal('it is not a statement about an image');
      const signed = signedByStatement(content.dsseEnvelope.payload);
      if (signed?.includes(digest) !== true) throw new Refusal(otherDigest(signed?.[0]));
      return bundle;
    });
  }

  #verify(read: () => Bundle, payload?: Buffer): Verdict {
    try {
      const bundle = read();
      const entity = prepare(bundle);
      const { identity } = this.verifier.verify(toSignedEntity(entity, payload));
      const subject = identity?.subjectAlternativeName ?? '';
      const issuer = identity?.extensions?.issuer ?? '';
      const signer = { identity: printable(subject), issuer: printable(issuer) };
      const wanted = this.wanted.filter(({ isSubject }) => isSubject(subject));
      if (wanted.length === 0) return { refusal: `signed by ${signer.identity || 'nobody'}` };
      if (!wanted.some(({ isIssuer }) => isIssuer(issuer)))
        return { refusal: `signed by ${signer.identity}, whom ${signer.issuer || 'nobody'} vouches for` };
      return { signer };
    } catch (error) {
      // Libraries throw errors of many kinds for malformed input, RangeError for deep nesting among them.
      return { refusal: reasonOf(error) };
    }
  }
}

/** Tells why a signature is refused. */
class Refusal extends Error {}

function otherDigest(signed: string | undefined): string {
  return signed === undefined
    ? 'it does not sign an image'
    : `it signs another digest: ${printable(signed.slice(0, 140))}`;
}

function parseAnnotation(text: string, what: string): Record<string, unknown> {
  return parseJsonObject(Buffer.from(text), what);
}

/** Composes a sigstore bundle from what cosign 2 stores in annotations beside its payload (cosign, SIGNATURE_SPEC). */
function bundleOfAnnotations(payload: Uint8Array, annotations: Readonly<Record<string, string>>): Bundle {
  const entry = parseAnnotation(annotations[cosignAnnotations.logEntry] ?? '', 'entry of a log');
  const { body, integratedTime, logIndex, logID } = Object(entry['Payload']) as Record<string, unknown>;
  if (typeof body !== 'string' || typeof logID !== 'string')
    throw new Refusal('its entry of a log is malformed');
  const kind = parseAnnotation(Buffer.from(body, 'base64').toString(), 'body of an entry of a log');
  const stamp = annotations[cosignAnnotations.timestamp];
  const signedTimestamp =
    stamp === undefined ? undefined : parseAnnotation(stamp, 'timestamp')['SignedRFC3161Timestamp'];
  const certificate = new X509Certificate(annotations[cosignAnnotations.certificate] ?? '');
  return bundleFromJSON({
    mediaType: 'application/vnd.dev.sigstore.bundle+json;version=0.1',
    verificationMaterial: {
      x509CertificateChain: { certificates: [{ rawBytes: certificate.raw.toString('base64') }] },
      tlogEntries: [
        {
          logIndex: String(logIndex),
          integratedTime: String(integratedTime),
          logId: { keyId: Buffer.from(logID, 'hex').toString('base64') },
          kindVersion: { kind: kind['kind'], version: kind['apiVersion'] },
          inclusionPromise: { signedEntryTimestamp: entry['SignedEntryTimestamp'] },
          canonicalizedBody: body,
        },
      ],
      ...(signedTimestamp !== undefined && {
        timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp }] },
      }),
    },
    messageSignature: {
      messageDigest: { algorithm: 'SHA2_256', digest: sha256(payload).toString('base64') },
      signature: annotations[cosignAnnotations.signature],
    },
  });
}

function sha256(content: Uint8Array): Buffer {
  return createHash('sha256').update(content).digest();
}

/** Checks what the library takes for granted, and removes times that nobody signed. */
function prepare(bundle: Bundle): Bundle {
  const { content, tlogEntries, timestampVerificationData } = bundle.verificationMaterial;
  if (content.$case === 'publicKey') throw new Refusal('it has no certificate: it is signed with a key');
  const leaf =
    content.$case === 'certificate' ? content.certificate : content.x509CertificateChain.certificates[0];
  const usages = new X509Certificate(leaf?.rawBytes ?? Buffer.alloc(0)).keyUsage as string[] | undefined;
  if (usages?.includes(codeSigning) !== true) throw new Refusal('its certificate is not for signing');
  const stamps = timestampVerificationData?.rfc3161Timestamps ?? [];
  if (tlogEntries.length > maxProofs || stamps.length > maxProofs)
    throw new Refusal(`more than ${maxProofs} entries of a log or timestamps`);
  for (const entry of tlogEntries) {
    const notes = entry.inclusionProof?.checkpoint?.envelope ?? '';
    if (notes.length > maxCheckpoint) throw new Refusal('the checkpoint of its log is too large');
    for (const [, name = ''] of notes.matchAll(/\u2014 (\S+) /g))
      if (!plainName.test(name)) throw new Refusal('the name in the checkpoint of its log is malformed');
    // Only the promise covers the time of an entry, the proof does not.
    if (entry.inclusionPromise === undefined) entry.integratedTime = '0';
  }
  return bundle;
}

/** Reasons by the code of the library's error; its message says more where `:` ends the text. */
const reasons: Readonly<Record<string, string>> = {
  TIMESTAMP_ERROR: 'no trusted time of its signature:',
  TLOG_ERROR: 'no entry of a log',
  TLOG_MISSING_INCLUSION_ERROR: 'its entry of a log has neither a promise nor a proof of inclusion',
  TLOG_INCLUSION_PROMISE_ERROR: 'no log of the trusted root promised its entry (SET)',
  TLOG_INCLUSION_PROOF_ERROR: 'the proof that a log of the trusted root has its entry is wrong:',
  TLOG_BODY_ERROR: 'its entry of a log is about another signature:',
  SIGNATURE_ERROR: 'the signature is not by its certificate over this content',
};

function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  if (!(error instanceof VerificationError)) return `malformed: ${printable(messageOf(error)).slice(0, 200)}`;
  const { code, message } = error as { code: string; message: string };
  if (code === 'CERTIFICATE_ERROR') return certificateReason(message, error.cause);
  const reason = reasons[code] ?? 'refused:';
  return reason.endsWith(':') ? `${reason} ${printable(message)}` : reason;
}

function certificateReason(message: string, cause: unknown): string {
  if (message.includes('SCTs')) return 'its certificate has no proof that it was logged (SCT)';
  if (message.includes('SCT')) return 'no log of the trusted root has logged its certificate (SCT)';
  if (cause instanceof Error && cause.message.includes('expired'))
    return 'its certificate was not valid when it was used';
  return 'no authority of the trusted root issued its certificate for that time';
}
