import type { BundleReader } from '../bundle/reader.js';
import {
  cosignAnnotations,
  dsseEnvelope,
  isSigstoreBundle,
  keyOfAttestation,
  keyOfPayload,
  keyOfSigstoreBundle,
  simpleSigning,
} from '../signing/cosign.js';
import type { PublicKey } from '../signing/public-key.js';
import type { AttachedSignature, FoundAttached } from './attached.js';
import { readAttached } from './packages.js';

/**
 * Checks whether one of the given keys signed attached content, about exactly the manifest that it is attached to.
 * @param keys none: says only that the content is signed
 * @returns undefined if the content is not signed
 * @throws AirliftError as `readAttached`
 */
export async function checkAttached(
  reader: BundleReader,
  { kind, content, subject }: FoundAttached,
  keys: readonly PublicKey[],
): Promise<AttachedSignature | undefined> {
  const unchecked = { state: 'unchecked' } as const;
  if (content === undefined) return kind === 'signature' ? unchecked : undefined;
  const { digest, mediaType, annotations } = content;
  const isPayload = mediaType === simpleSigning;
  const isBundle = isSigstoreBundle(mediaType);
  if (!isPayload && !isBundle && mediaType !== dsseEnvelope)
    return kind === 'signature' ? unchecked : undefined;
  const isLeftOut = reader.catalog.blob(digest)?.leftOut === 'base';
  if (keys.length === 0 || isLeftOut) return unchecked;
  const bytes = await readAttached(reader, content, `${kind} ${digest}`);
  const key = isPayload
    ? keyOfPayload(bytes, annotations?.[cosignAnnotations.signature], subject, keys)
    : isBundle && kind === 'signature'
      ? keyOfSigstoreBundle(bytes, subject, keys)
      : keyOfAttestation(bytes, subject, keys);
  return key === undefined ? { state: 'other-key' } : { state: 'valid', keyId: key.id, keyFile: key.file };
}
