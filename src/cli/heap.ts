import { setFlagsFromString } from 'node:v8';
import type { ProgressEvent } from '../index.js';

/** From this number of images on, memory depends on their number rather than on the content in transfer. */
const manyImages = 1000;

/** The size of the catalog of a bundle with nearly as many images, in bytes. */
const largeCatalog = 2 * 1024 * 1024;

/**
 * Lets V8 collect garbage when the heap has grown by a third, not fourfold. That keeps memory flat, but a transfer of a few large images
 * takes 10 to 50 % more CPU time.
 */
export function collectEarly(): void {
  setFlagsFromString('--heap-growing-percent=30');
}

/**
 * Prepares for a run with many images: collects garbage early, and keeps the space for new objects as large as it is now. V8 would let that
 * space grow to 32 MiB, in Node 24 to 128 MiB, and never give it back; a run with many images takes the same CPU time without.
 */
function prepareForMany(): void {
  collectEarly();
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** Prepares for a bundle with many images before it is checked, by the size of its catalog in bytes. */
export function prepareForCatalog(size: number): void {
  if (size >= largeCatalog) prepareForMany();
}

/** Returns a function that takes the events of a run, and prepares for many images at the first event that counts so many. */
export function prepareIfMany(): (event: ProgressEvent) => void {
  let isPrepared = false;
  return (event) => {
    if (isPrepared || !('images' in event) || event.images < manyImages) return;
    isPrepared = true;
    prepareForMany();
  };
}
