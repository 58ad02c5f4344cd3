import { setFlagsFromString } from 'node:v8';
import type { ProgressEvent } from '../index.js';

/** From this number of images on, memory depends on their number rather than on the content in transfer. */
const manyImages = 1000;

/**
 * Lets V8 collect garbage when the heap has grown by a third, not fourfold. That keeps memory flat, but a transfer of a few large images
 * takes 10 to 50 % more CPU time.
 */
export function collectEarly(): void {
  setFlagsFromString('--heap-growing-percent=30');
}

/** Returns a function that takes the events of a run and collects garbage early from the event on that counts many images. */
export function collectEarlyIfMany(): (event: ProgressEvent) => void {
  let isEarly = false;
  return (event) => {
    if (isEarly || !('images' in event) || event.images < manyImages) return;
    isEarly = true;
    collectEarly();
  };
}
