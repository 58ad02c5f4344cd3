import { sign } from 'node:crypto';
import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { ociConfig, ociManifest } from '../oci/media-types.js';
import { cosignAnnotations, simpleSigning } from './cosign.js';
import type { SecretKey } from './secret-key.js';

/** A filtered index to sign. */
export interface FilteredIndex {
  readonly digest: Digest;
  /** Its repository, with the registry. */
  readonly repository: string;
  /** The publisher's index that it was cut from. */
  readonly original: Digest;
  /** The selected platforms. */
  readonly platforms: readonly string[];
}

/** Content with its descriptor. */
interface Described {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

/** The image that holds a signature. */
interface SignatureImage {
  readonly manifest: Described;
  readonly config: Described;
  readonly payload: Described;
}

/** cosign writes this time where an image config wants one. */
const noTime = '0001-01-01T00:00:00Z';

function described(mediaType: string, text: string): Described {
  const bytes = Buffer.from(text);
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.byteLength }, bytes };
}

/** Composes the text that is signed (cosign, SIGNATURE_SPEC): the same index always gives the same text. */
function payloadOf({ digest, repository, original, platforms }: FilteredIndex): string {
  return JSON.stringify({
    critical: {
      identity: { 'docker-reference': repository },
      image: { 'docker-manifest-digest': digest },
      type: 'cosign container image signature',
    },
    optional: { 'airlift.original': original, 'airlift.platforms': platforms.join(',') },
  });
}

/**
 * Signs a filtered index as cosign does, and states what it was cut from. ECDSA draws a random number for each signature: two calls give two
 * manifests, of the same config and payload.
 */
export function signFilteredIndex(index: FilteredIndex, { key }: SecretKey): SignatureImage {
  const payload = described(simpleSigning, payloadOf(index));
  const config = described(
    ociConfig,
    JSON.stringify({
      architecture: '',
      created: noTime,
      history: [{ created: noTime }],
      os: '',
      rootfs: { type: 'layers', diff_ids: [payload.descriptor.digest] },
      config: {},
    }),
  );
  const annotations = {
    [cosignAnnotations.signature]: sign('sha256', payload.bytes, key).toString('base64'),
  };
  const manifest = described(
    ociManifest,
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: config.descriptor,
      layers: [{ ...payload.descriptor, annotations }],
    }),
  );
  return { manifest, config, payload };
}

/**
 * Checks that a key can sign images as cosign does.
 * @throws AirliftError `usage` for a key of minisign
 */
export function checkImageKey({ format }: SecretKey): void {
  if (format === 'ecdsa-p256') return;
  throw new AirliftError('usage', 'sign images: got a key of minisign, want an ECDSA key with curve P-256', {
    hint: 'create one with airlift keygen, of the type ecdsa-p256',
  });
}
