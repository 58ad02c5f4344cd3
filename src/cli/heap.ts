import { setFlagsFromString } from 'node:v8';

/** A list of as many images may need more memory than is wanted, unless garbage is collected early. */
const manyImages = 1000;

/**
 * Has garbage collected as late as V8 likes, which saves a quarter of the time of an export. The program starts with the opposite,
 * since memory has to stay flat for long lists.
 */
export function relaxHeap(images: number): void {
  if (images < manyImages) setFlagsFromString('--heap-growing-percent=0');
}
