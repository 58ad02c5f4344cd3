import { isCompanionTag, parseReference, type Inspection } from '../index.js';
import { count } from './format.js';

/** `3 images`, `3 images and 2 signatures`: what hangs on another image by cosign's tags is no image that anybody asked for. */
export function countNames(references: Iterable<string>): string {
  let images = 0;
  let signatures = 0;
  for (const reference of references) {
    if (isCompanionTag(parseReference(reference).tag)) signatures++;
    else images++;
  }
  return countImages(images, signatures);
}

/** `3 images`, `3 images and 2 signatures`. */
export function countImages(images: number, signatures: number): string {
  const asked = count(images, 'image');
  return signatures === 0 ? asked : `${asked} and ${count(signatures, 'signature')}`;
}

/**
 * What to know of images that were signed as a whole and carry some of their platforms only: their tag gets another digest, which
 * nobody signed.
 */
export function notesOnSignatures({ images }: Pick<Inspection, 'images'>): string[] {
  const signed = new Set(images.map(({ companionOf }) => companionOf));
  const lost = images.filter(
    ({ original, hasReferrers }) => original !== undefined && (hasReferrers === true || signed.has(original)),
  );
  if (lost.length === 0) return [];
  return [
    'note: images with some of their platforms get a new digest, which their publishers did not sign: cosign verify finds no signature for the tags of',
    ...lost.map(({ reference, original }) => `  ${reference} (signed: ${original})`),
    '  where the registry takes indexes with missing platforms, import keeps the signed digest too: cosign verify REPOSITORY@DIGEST',
    '  hint: export all platforms (without --platform) to keep the signatures of the tags',
  ];
}
