import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { singlePlatform } from '../support/image-sets.js';
import { types } from '../support/images.js';
import { writeOciLayout } from '../support/oci-layout.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const image = singlePlatform('linux/amd64', { name: 'odd layouts' });

interface Index {
  manifests: unknown[];
}

/** Writes a layout with an image; its index.json also lists the layers of a build cache. */
async function layoutWithLayers(t: Cleanup): Promise<string> {
  const dir = temp(t);
  await writeOciLayout(dir, [{ name: 'acme/app:1', image }]);
  const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8')) as Index;
  for (const content of ['a layer', '{}']) {
    const hex = createHash('sha256').update(content).digest('hex');
    writeFileSync(join(dir, 'blobs/sha256', hex), content);
    const mediaType = content === '{}' ? 'application/vnd.buildkit.cacheconfig.v0' : types.oci.none;
    index.manifests.unshift({ mediaType, digest: `sha256:${hex}`, size: content.length });
  }
  writeFileSync(join(dir, 'index.json'), JSON.stringify(index));
  return dir;
}

describe('a layout whose index.json lists blobs', () => {
  test('with an image: the image is published, and each blob is skipped with a warning', async (t) => {
    const dir = await layoutWithLayers(t);
    const site = await serveStore(t);
    const { stderr } = await airlift(['import', dir, '--to', site]);
    for (const mediaType of ['application/vnd.buildkit.cacheconfig.v0', types.oci.none])
      assert.match(stderr, new RegExp(`skipped sha256:\\w{64}: .*${mediaType.replace('+', '\\+')}`));
    const { content } = await walkRegistry(site, 'acme/app', '1');
    sameContent(content, await walkImage(image));
  });

  test('without an image: it is rejected with a hint', async (t) => {
    const dir = await layoutWithLayers(t);
    const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8')) as Index;
    writeFileSync(
      join(dir, 'index.json'),
      JSON.stringify({ ...index, manifests: index.manifests.slice(0, 2) }),
    );
    const { stderr } = await airlift(['import', dir, '--to', await serveStore(t)], { codes: [1] });
    assert.match(stderr, /index\.json lists only blobs; got \S+ sha256:\w+, want a manifest or an index/);
    assert.match(stderr, /hint: .*--output type=oci/);
  });
});
