import { singlePlatform } from '../../support/image-sets.js';
import type { Cargo } from '../write-bundle.js';

/** Images of which two lists share some: what stands in the file for the first list must be moved for the second. */
function imageOf(name: string, bytes: number): Cargo {
  return {
    reference: `registry.example/acme/${name}:1`,
    image: singlePlatform('linux/amd64', { name, bigBytes: bytes }),
  };
}

const shared = [1, 2, 3, 4, 5].map((at) => imageOf(`shared${at}`, at * 350_000));

/** The first list has images that the second has not, and the other way round. */
export const first: readonly Cargo[] = [
  ...shared,
  ...[1, 2, 3, 4].map((at) => imageOf(`first${at}`, at * 300_000)),
];
export const second: readonly Cargo[] = [
  ...shared,
  ...[1, 2, 3, 4, 5, 6].map((at) => imageOf(`second${at}`, at * 211_111)),
];
