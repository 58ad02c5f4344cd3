import { singlePlatform } from '../../support/image-sets.js';
import type { Cargo } from '../write-bundle.js';

/** Two lists that share some images: the blobs of the first list have to be moved for the second. */
function imageOf(name: string, bytes: number): Cargo {
  return {
    reference: `registry.example/acme/${name}:1`,
    image: singlePlatform('linux/amd64', { name, bigBytes: bytes }),
  };
}

const shared = [1, 2, 3, 4, 5].map((at) => imageOf(`shared${at}`, at * 350_000));

/** Each list has images that the other lacks. */
export const first: readonly Cargo[] = [
  ...shared,
  ...[1, 2, 3, 4].map((at) => imageOf(`first${at}`, at * 300_000)),
];
export const second: readonly Cargo[] = [
  ...shared,
  ...[1, 2, 3, 4, 5, 6].map((at) => imageOf(`second${at}`, at * 211_111)),
];
