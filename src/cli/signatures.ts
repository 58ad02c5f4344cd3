import {
  describeSignature,
  isCompanionTag,
  parseReference,
  type ImageSignature,
  type ImageSigner,
  type Inspection,
  type SignatureReport,
} from '../index.js';
import { count } from './format.js';

/** Formats `3 images` or `3 images and 2 signatures`. Images with cosign's signature tags count as signatures. */
export function countNames(references: Iterable<string>): string {
  let images = 0;
  let signatures = 0;
  for (const reference of references) {
    if (isCompanionTag(parseReference(reference).tag)) signatures++;
    else images++;
  }
  return countImages(images, signatures);
}

/** Formats `3 images` or `3 images and 2 signatures`. */
export function countImages(images: number, signatures: number): string {
  const counted = count(images, 'image');
  return signatures === 0 ? counted : `${counted} and ${count(signatures, 'signature')}`;
}

/**
 * Explains what happens to the signatures of images that lost platforms: their tags get new digests, which nobody signed.
 */
export function notesOnSignatures({ images }: Pick<Inspection, 'images'>): string[] {
  const companions = new Set(images.map(({ companionOf }) => companionOf));
  const signed = new Set(signedFiltered({ images }));
  const lost = images.filter(
    ({ original, hasReferrers, reference }) =>
      original !== undefined && (hasReferrers === true || companions.has(original)) && !signed.has(reference),
  );
  if (lost.length === 0) return [];
  return [
    'note: an image with only some of its platforms gets a new digest without a signature: cosign verify fails for these tags:',
    ...lost.map(({ reference, original }) => `  ${reference} (signed: ${original})`),
    '  if the registry accepts indexes with missing platforms, import also keeps the signed digest: cosign verify REPOSITORY@DIGEST',
    '  hint: export all platforms (without --platform) to keep the signatures of the tags, or sign the new digests with export --sign-images KEY',
  ];
}

/** Lists the images whose filtered index itself has a signature under cosign's tag. */
export function signedFiltered({ images }: Pick<Inspection, 'images'>): string[] {
  const signed = new Set(
    images.flatMap(({ reference, companionOf }) => (reference.endsWith('.sig') ? [companionOf] : [])),
  );
  return images.flatMap(({ reference, digest, original }) =>
    original !== undefined && signed.has(digest) ? [reference] : [],
  );
}

/** Formats a line for each signature of a bundle or file. */
export function signedLines(reports: readonly SignatureReport[]): string[] {
  return reports.map(describeSignature);
}

function describeSigner(signer: ImageSigner): string {
  return 'keyId' in signer
    ? `signed by key ${signer.keyId}`
    : `signed by ${signer.identity}, for whom ${signer.issuer} vouches`;
}

/** Formats who signed an image, and which policies would like to know more. */
export function imageSignatureLines(image: ImageSignature): string[] {
  const { reference, warnings = [] } = image;
  return [describeImage(image), ...warnings.map((warning) => `warning: ${reference}: ${warning}`)];
}

function describeImage(image: ImageSignature): string {
  const { reference, digest, signed, signers, form, allowedUnsigned } = image;
  if (signed === undefined || signers === undefined)
    return `${reference}: ${allowedUnsigned === true ? 'needs no signature' : 'not signed'}`;
  const where = form === 'tag' ? 'a tag of cosign' : 'a referrer';
  const what = signed === digest ? '' : `; signed is ${signed}, from which airlift cut its index`;
  return `${reference}: ${signers.map(describeSigner).join(', and ')} (${where})${what}`;
}
