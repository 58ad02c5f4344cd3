import { multiPlatform } from '../../support/image-sets.js';
import type { Cargo } from '../write-bundle.js';

/** The images that the tests of interrupted runs write: a few blobs of several chunks. */
export function resumed(): Cargo[] {
  return [
    { reference: 'registry.example/acme/web:1', image: multiPlatform({ name: 'web', bigBytes: 900_000 }) },
    {
      reference: 'registry.example/acme/tools:2',
      image: multiPlatform({ name: 'tools', bigBytes: 200_000 }),
    },
  ];
}
