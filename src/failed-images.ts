import { AirliftError, fromPlainError, type PlainError } from './errors.js';

/** An image that failed, and why. */
export interface FailedImage {
  readonly image: string;
  readonly error: PlainError;
}

/** Failures as lines: each image with its reason, and hints behind the last of the failures that have them in common. */
export function linesOfFailures(failed: readonly FailedImage[]): string[] {
  return failed.flatMap(({ image, error }, at) => {
    const { message, hint } = error;
    const line = `failed: ${message.includes(image) ? message : `${image}: ${message}`}`;
    return hint === undefined || failed[at + 1]?.error.hint === hint ? [line] : [line, `  hint: ${hint}`];
  });
}

/**
 * One error for all images that failed: their own where it is one, else one that names each of them.
 * @param images how many there are
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
