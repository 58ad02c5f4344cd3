import type { Digest } from '../oci/digest.js';
import { cosignAnnotations, keyOfPayload, keyOfSigstoreBundle } from './cosign.js';
import type { PublicKey } from './public-key.js';

/** Who signed an image: a key, or the owner of a certificate. Text from certificates is printable. */
export type ImageSigner = { readonly keyId: string } | { readonly identity: string; readonly issuer: string };

/** Who made a signature that is valid, or why it is refused. */
export type Verdict = { readonly signer: ImageSigner } | { readonly refusal: string };

/** Decides whether a signature of cosign is one by whom the user trusts, over exactly one digest. */
export interface Authority {
  /**
   * Checks a payload of cosign.
   * @param annotations of its descriptor, which hold the signature
   */
  checkPayload(payload: Uint8Array, annotations: Readonly<Record<string, string>>, digest: Digest): Verdict;
  /** Checks a sigstore bundle. */
  checkBundle(bytes: Uint8Array, digest: Digest): Verdict;
}

/** Accepts signatures by keys. */
export class KeyAuthority implements Authority {
  /** @param keys of cosign */
  constructor(private readonly keys: readonly PublicKey[]) {}

  checkPayload(payload: Uint8Array, annotations: Readonly<Record<string, string>>, digest: Digest): Verdict {
    return verdictOf(keyOfPayload(payload, annotations[cosignAnnotations.signature], digest, this.keys));
  }

  checkBundle(bytes: Uint8Array, digest: Digest): Verdict {
    return verdictOf(keyOfSigstoreBundle(bytes, digest, this.keys));
  }
}

function verdictOf(key: PublicKey | undefined): Verdict {
  return key === undefined
    ? { refusal: 'not by the given key over this digest' }
    : { signer: { keyId: key.id } };
}
