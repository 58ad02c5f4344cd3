/** Images that a key has signed as cosign does. */
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { preAuthEncoding, simpleSigning } from '../../src/signing/cosign.js';
import { artifactOf } from './artifacts.js';
import { imageOf, plainBlob, type TestImage } from './images.js';
import { temp, type Cleanup } from './temp.js';

export interface CosignKeys {
  readonly privateKey: KeyObject;
  readonly publicPath: string;
}

export function newCosignKeys(t: Cleanup): CosignKeys {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicPath = join(temp(t), 'publisher.pub');
  writeFileSync(publicPath, publicKey.export({ type: 'spki', format: 'pem' }));
  return { privateKey, publicPath };
}

/** Returns the payload that cosign signs. */
export function payloadOf(digest: string, type = 'cosign container image signature'): string {
  const identity = { 'docker-reference': 'registry.example/acme/app' };
  return JSON.stringify({
    critical: { identity, image: { 'docker-manifest-digest': digest }, type },
    optional: null,
  });
}

const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64');

/** Returns the image that cosign stores under its tag. */
export function taggedSignature({ privateKey }: CosignKeys, payload: string): TestImage {
  const signature = base64(sign('sha256', Buffer.from(payload), privateKey));
  const annotations = { 'dev.cosignproject.cosign/signature': signature };
  return imageOf({
    platform: { architecture: '', os: '' },
    layers: [plainBlob(payload, simpleSigning, annotations)],
  });
}

const payloadType = 'application/vnd.in-toto+json';

/** Returns a signed statement about a digest. */
function envelopeOf({ privateKey }: CosignKeys, digest: string, predicateType: string): object {
  const statement = JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ digest: { sha256: digest.slice(7) }, annotations: {} }],
    predicateType,
    predicate: {},
  });
  const sig = base64(sign('sha256', preAuthEncoding(payloadType, Buffer.from(statement)), privateKey));
  return { payload: base64(statement), payloadType, signatures: [{ sig }] };
}

/** Returns the referrer that cosign 3 attaches. */
export function attachedSignature(
  keys: CosignKeys,
  subject: TestImage,
  digest: string,
  predicateType = 'https://sigstore.dev/cosign/sign/v1',
): TestImage {
  const type = 'application/vnd.dev.sigstore.bundle.v0.3+json';
  const text = JSON.stringify({
    mediaType: type,
    verificationMaterial: { publicKey: { hint: 'x' } },
    dsseEnvelope: envelopeOf(keys, digest, predicateType),
  });
  return artifactOf({ artifactType: type, blobs: [plainBlob(text, type)], subject: subject.root });
}

/** Returns the image that cosign stores under its tag for an attestation. */
export function taggedAttestation(keys: CosignKeys, digest: string, predicateType: string): TestImage {
  const text = JSON.stringify(envelopeOf(keys, digest, predicateType));
  return imageOf({
    platform: { architecture: '', os: '' },
    layers: [plainBlob(text, 'application/vnd.dsse.envelope.v1+json', { predicateType })],
  });
}
