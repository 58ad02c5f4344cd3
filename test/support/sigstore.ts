/** A small sigstore: a certificate authority, a log of certificates, and a log of signatures, whose keys a trusted root lists. */
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  cosignAnnotations,
  preAuthEncoding,
  simpleSigning,
  statementType,
} from '../../src/signing/cosign.js';
import { artifactOf } from './artifacts.js';
import { payloadOf } from './cosign.js';
import { bits, integer, octets, oid, sequence, setOf, tlv, utcTime, utf8, yes } from './der.js';
import { imageOf, plainBlob, type TestImage } from './images.js';
import { temp, type Cleanup } from './temp.js';

const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json';
const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));
const origin = 'rekor.test';

const sha256 = (...parts: readonly Uint8Array[]): Buffer =>
  createHash('sha256').update(Buffer.concat(parts)).digest();
const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64');
const pem = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${(base64(der).match(/.{1,64}/g) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`;

interface Keys {
  readonly privateKey: KeyObject;
  readonly spki: Buffer;
}

function newKeys(): Keys {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, spki: publicKey.export({ type: 'spki', format: 'der' }) };
}

const nameOf = (text: string): Buffer => sequence(setOf(sequence(oid('2.5.4.3'), utf8(text))));
const extension = (id: string, value: Uint8Array, isCritical = false): Buffer =>
  sequence(oid(id), ...(isCritical ? [yes] : []), octets(value));
const keyIdOf = ({ spki }: Keys): Buffer => sha256(spki).subarray(0, 20);

interface CertificateParts {
  readonly issuer: string;
  readonly issuerKeys: Keys;
  readonly subject: string;
  readonly keys: Keys;
  readonly from: Date;
  readonly to: Date;
  readonly extensions: readonly Buffer[];
}

let serial = 1000;

/** Returns the part of a certificate that is signed; `number` tells certificates of one issuer apart. */
function unsignedCertificate(parts: CertificateParts, number: number): Buffer {
  const { issuer, issuerKeys, subject, keys, from, to, extensions } = parts;
  return sequence(
    tlv(0xa0, integer(2)),
    integer(number),
    ecdsaWithSha256,
    nameOf(issuer),
    sequence(utcTime(from), utcTime(to)),
    subject === '' ? sequence() : nameOf(subject),
    keys.spki,
    tlv(
      0xa3,
      sequence(
        extension('2.5.29.14', octets(keyIdOf(keys))),
        extension('2.5.29.35', sequence(tlv(0x80, keyIdOf(issuerKeys)))),
        ...extensions,
      ),
    ),
  );
}

function certificateOf(parts: CertificateParts, number = serial++): Buffer {
  const body = unsignedCertificate(parts, number);
  return sequence(body, ecdsaWithSha256, bits(sign('sha256', body, parts.issuerKeys.privateKey)));
}

/** Returns the extension that proves that a log has a certificate (RFC 6962, 3.2 and 3.3). */
function proofOfLogging(log: Keys, issuer: Keys, body: Buffer, time: Date): Buffer {
  const stamp = Buffer.alloc(8);
  stamp.writeBigUInt64BE(BigInt(time.getTime()));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  const none = Buffer.alloc(2);
  const signed = Buffer.concat([
    Buffer.from([0, 0]),
    stamp,
    Buffer.from([0, 1]),
    sha256(issuer.spki),
    length.subarray(1),
    body,
    none,
  ]);
  const signature = sign('sha256', signed, log.privateKey);
  const short = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
  const proof = Buffer.concat([
    Buffer.from([0]),
    sha256(log.spki),
    stamp,
    none,
    Buffer.from([4, 3]),
    short(signature.length),
    signature,
  ]);
  return extension(
    '1.3.6.1.4.1.11129.2.4.2',
    octets(Buffer.concat([short(proof.length + 2), short(proof.length), proof])),
  );
}

/** An entry of the log of signatures, as sigstore bundles hold it in JSON. */
export interface LogEntry {
  logIndex: string;
  logId: { keyId: string };
  kindVersion: { kind: string; version: string };
  integratedTime: string;
  inclusionPromise?: { signedEntryTimestamp: string };
  inclusionProof?: {
    logIndex: string;
    rootHash: string;
    treeSize: string;
    hashes: string[];
    checkpoint: { envelope: string };
  };
  canonicalizedBody: string;
}

export interface SigningOptions {
  readonly identity?: string;
  readonly issuer?: string;
  /** When the log records the signature; default: a minute after the certificate begins. */
  readonly loggedAt?: Date;
  /** Leaves out the proof that the certificate was logged. */
  readonly isUnlogged?: boolean;
  /** Extended key usage; default: code signing. */
  readonly usage?: string;
  /** Type of the predicate of a referrer's statement. */
  readonly predicateType?: string;
  /** Changes the entry of the log after it was made. */
  readonly change?: (entry: LogEntry) => void;
}

/** The identity that signs unless options name another one. */
export const publisher = {
  identity: 'https://github.example/acme/app/.github/workflows/release.yaml@refs/tags/v1',
  issuer: 'https://token.actions.example',
};
/** When certificates of `TestSigstore` begin; they last ten minutes. */
export const signingTime = new Date('2024-05-06T07:00:00Z');
const minutes = (count: number): Date => new Date(signingTime.getTime() + count * 60_000);

export class TestSigstore {
  readonly #root = newKeys();
  readonly #authority = newKeys();
  readonly #certificateLog = newKeys();
  readonly #log = newKeys();
  readonly #chain: readonly Buffer[];

  constructor() {
    const years = { from: new Date('2020-01-01T00:00:00Z'), to: new Date('2040-01-01T00:00:00Z') };
    const usages = [
      extension('2.5.29.19', sequence(yes), true),
      extension('2.5.29.15', bits(Buffer.from([0x06]), 1), true),
    ];
    const root = { issuer: 'test root', issuerKeys: this.#root, ...years, extensions: usages };
    this.#chain = [
      certificateOf({ ...root, subject: 'test authority', keys: this.#authority }),
      certificateOf({ ...root, subject: 'test root', keys: this.#root }),
    ];
  }

  /** Returns the trusted root. */
  trustedRoot(): object {
    const log = (keys: Keys, baseUrl: string): object => ({
      baseUrl,
      hashAlgorithm: 'SHA2_256',
      publicKey: {
        rawBytes: base64(keys.spki),
        keyDetails: 'PKIX_ECDSA_P256_SHA_256',
        validFor: { start: '2020-01-01T00:00:00Z' },
      },
      logId: { keyId: base64(sha256(keys.spki)) },
    });
    return {
      mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
      tlogs: [log(this.#log, `https://${origin}`)],
      certificateAuthorities: [
        {
          subject: { organization: 'test', commonName: 'test authority' },
          uri: 'https://fulcio.test',
          certChain: { certificates: this.#chain.map((der) => ({ rawBytes: base64(der) })) },
          validFor: { start: '2020-01-01T00:00:00Z' },
        },
      ],
      ctlogs: [log(this.#certificateLog, 'https://ctfe.test')],
      timestampAuthorities: [],
    };
  }

  /** Writes the trusted root to a file, and returns its path. */
  writeTrustedRoot(t: Cleanup): string {
    const path = join(temp(t), 'trusted_root.json');
    writeFileSync(path, JSON.stringify(this.trustedRoot()));
    return path;
  }

  /** Issues a certificate for ten minutes from `signingTime`. */
  #issue(options: SigningOptions): { readonly der: Buffer; readonly keys: Keys } {
    const { identity, issuer } = { ...publisher, ...options };
    const keys = newKeys();
    const isMail = identity.includes('@') && !identity.includes('/');
    const parts = {
      issuer: 'test authority',
      issuerKeys: this.#authority,
      subject: '',
      keys,
      from: signingTime,
      to: minutes(10),
      extensions: [
        extension('2.5.29.15', bits(Buffer.from([0x80]), 7), true),
        extension('2.5.29.37', sequence(oid(options.usage ?? '1.3.6.1.5.5.7.3.3'))),
        extension('2.5.29.17', sequence(tlv(isMail ? 0x81 : 0x86, Buffer.from(identity))), true),
        extension('1.3.6.1.4.1.57264.1.1', Buffer.from(issuer)),
        extension('1.3.6.1.4.1.57264.1.8', utf8(issuer)),
      ],
    };
    if (options.isUnlogged === true) return { der: certificateOf(parts), keys };
    const number = serial++;
    const body = unsignedCertificate(parts, number);
    const proof = proofOfLogging(this.#certificateLog, this.#authority, body, signingTime);
    return { der: certificateOf({ ...parts, extensions: [...parts.extensions, proof] }, number), keys };
  }

  /** Records an entry in the log, which has one other entry. */
  #record(kind: string, spec: object, options: SigningOptions): LogEntry {
    const body = Buffer.from(JSON.stringify({ apiVersion: '0.0.1', kind, spec }));
    const time = Math.floor((options.loggedAt ?? minutes(1)).getTime() / 1000);
    const logId = sha256(this.#log.spki);
    const promised = JSON.stringify({
      body: base64(body),
      integratedTime: time,
      logID: logId.toString('hex'),
      logIndex: 0,
    });
    const other = sha256(Buffer.from('\0another entry'));
    const rootHash = sha256(Buffer.from([1]), sha256(Buffer.from([0]), body), other);
    const note = `${origin} - 1\n2\n${base64(rootHash)}\n`;
    const signature = Buffer.concat([
      logId.subarray(0, 4),
      sign('sha256', Buffer.from(note), this.#log.privateKey),
    ]);
    const entry: LogEntry = {
      logIndex: '0',
      logId: { keyId: base64(logId) },
      kindVersion: { kind, version: '0.0.1' },
      integratedTime: String(time),
      inclusionPromise: {
        signedEntryTimestamp: base64(sign('sha256', Buffer.from(promised), this.#log.privateKey)),
      },
      inclusionProof: {
        logIndex: '0',
        rootHash: base64(rootHash),
        treeSize: '2',
        hashes: [base64(other)],
        checkpoint: { envelope: `${note}\n\u2014 ${origin} ${base64(signature)}\n` },
      },
      canonicalizedBody: base64(body),
    };
    options.change?.(entry);
    return entry;
  }

  /** Returns the image that cosign stores under its tag. */
  tagged(digest: string, options: SigningOptions = {}): TestImage {
    const payload = payloadOf(digest);
    const { der, keys } = this.#issue(options);
    const signature = base64(sign('sha256', Buffer.from(payload), keys.privateKey));
    const spec = {
      data: { hash: { algorithm: 'sha256', value: sha256(Buffer.from(payload)).toString('hex') } },
      signature: { content: signature, publicKey: { content: base64(pem(der)) } },
    };
    const entry = this.#record('hashedrekord', spec, options);
    const logEntry = {
      SignedEntryTimestamp: entry.inclusionPromise?.signedEntryTimestamp,
      Payload: {
        body: entry.canonicalizedBody,
        integratedTime: Number(entry.integratedTime),
        logIndex: Number(entry.logIndex),
        logID: Buffer.from(entry.logId.keyId, 'base64').toString('hex'),
      },
    };
    return imageOf({
      platform: { architecture: '', os: '' },
      layers: [
        plainBlob(payload, simpleSigning, {
          [cosignAnnotations.signature]: signature,
          [cosignAnnotations.certificate]: pem(der),
          'dev.sigstore.cosign/chain': this.#chain.map(pem).join(''),
          [cosignAnnotations.logEntry]: JSON.stringify(logEntry),
        }),
      ],
    });
  }

  /** Returns the referrer that cosign 3 attaches. */
  attached(subject: TestImage, digest: string, options: SigningOptions = {}): TestImage {
    const text = JSON.stringify(this.bundle(digest, options));
    return artifactOf({
      artifactType: bundleType,
      blobs: [plainBlob(text, bundleType)],
      subject: subject.root,
      annotations: {
        'dev.sigstore.bundle.content': 'dsse-envelope',
        'dev.sigstore.bundle.predicateType': predicateOf(options),
      },
    });
  }

  /** Returns a sigstore bundle about a digest, in JSON. */
  bundle(digest: string, options: SigningOptions = {}): object {
    const { der, keys } = this.#issue(options);
    const payload = JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ digest: { sha256: digest.slice(7) } }],
      predicateType: predicateOf(options),
      predicate: {},
    });
    const content = Buffer.from(payload);
    const sig = base64(sign('sha256', preAuthEncoding(statementType, content), keys.privateKey));
    const envelope = { payload: base64(payload), payloadType: statementType, signatures: [{ sig }] };
    const hash = (bytes: Uint8Array): object => ({
      algorithm: 'sha256',
      value: sha256(bytes).toString('hex'),
    });
    const spec = {
      envelopeHash: hash(Buffer.from(JSON.stringify(envelope))),
      payloadHash: hash(content),
      signatures: [{ signature: sig, verifier: base64(pem(der)) }],
    };
    return {
      mediaType: bundleType,
      verificationMaterial: {
        certificate: { rawBytes: base64(der) },
        tlogEntries: [this.#record('dsse', spec, options)],
      },
      dsseEnvelope: envelope,
    };
  }
}

function predicateOf({ predicateType = 'https://sigstore.dev/cosign/sign/v1' }: SigningOptions): string {
  return predicateType;
}
