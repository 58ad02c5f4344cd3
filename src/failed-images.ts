import { AirliftError, fromPlainError, type PlainError } from './errors.js';

/** An image that failed, with its error. */
export interface FailedImage {
  readonly image: string;
  readonly error: PlainError;
}

/** Formats failures as lines: each image with its error. A hint that consecutive failures share follows the last of them. */
export function linesOfFailures(failed: readonly FailedImage[]): string[] {
  return failed.flatMap(({ image, error }, at) => {
    const { message, hint } = error;
    const line = `failed: ${message.includes(image) ? message : `${image}: ${message}`}`;
    return hint === undefined || failed[at + 1]?.error.hint === hint ? [line] : [line, `  hint: ${hint}`];
  });
}

/**
 * Returns one error for all failed images: the image's own error if one failed, otherwise an error that lists each of them.
 * @param images the number of all images
 * @param hint used if other images are left
 */
export function failureOf(
  verb: string,
  failed: readonly FailedImage[],
  images: number,
  hint?: string,
): AirliftError {
  const [first] = failed;
  if (first !== undefined && failed.length === 1) return fromPlainError(first.error);
  return new AirliftError(
    first?.error.code ?? 'input',
    `${verb}: ${failed.length} of ${images} images failed`,
    { hint: failed.length < images ? hint : undefined, lines: linesOfFailures(failed) },
  );
}
