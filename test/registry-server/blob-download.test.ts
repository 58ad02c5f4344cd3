import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { beginDownload, readBody } from '../support/download.js';
import { pushBlob, startRegistry } from './fixture.js';

test('downloads that run at the same time never get bytes of each other, even where some break off', async (t) => {
  const registry = await startRegistry(t);
  // Of several chunks, and of sizes at and beside the bounds of chunks.
  const sizes = [65_536, 65_537, 262_144, 262_145, 786_431, 9_000_000, 9_000_001, 12_345_678];
  const blobs = await Promise.all(
    sizes.map(async (size) => ({ size, digest: await pushBlob(registry, 'acme/api', randomBytes(size)) })),
  );
  const urlOf = (digest: string): string => `${registry.url}/v2/acme/api/blobs/${digest}`;
  const whole = async ({ digest }: { digest: string }): Promise<void> => {
    for (let count = 0; count < 4; count++)
      assert.equal(digestOf(await readBody(await beginDownload(urlOf(digest)))), digest);
  };
  /** Reads a few bytes, then closes the connection: the server has chunks in flight. */
  const broken = async ({ digest }: { digest: string }): Promise<void> => {
    for (let count = 0; count < 12; count++) {
      const response = await beginDownload(urlOf(digest));
      for await (const chunk of response) {
        assert.ok((chunk as Buffer).length > 0);
        break;
      }
      response.destroy();
    }
  };
  /** Begins to read only after the others have finished. */
  const slow = await Promise.all(blobs.map(({ digest }) => beginDownload(urlOf(digest))));
  await Promise.all([...blobs.map(whole), ...blobs.slice(-3).map(broken)]);
  for (const [at, response] of slow.entries())
    assert.equal(digestOf(await readBody(response)), blobs[at]?.digest);
});
