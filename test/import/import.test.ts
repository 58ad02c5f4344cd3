import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { exportBundle } from '../../src/export/export.js';
import { importImages } from '../../src/import/import.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { parseReference } from '../../src/oci/reference.js';
import { parseSite } from '../../src/site/names.js';
import { assortment } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';

test('an image that is named by digest gets the digest of the index that is published', async (t) => {
  const source = await serveStore(t);
  const web = assortment()['web']?.image ?? assert.fail();
  await pushImage(source, 'app', '1', web);
  const bundle = join(temp(t), 'site.tar');
  await exportBundle({
    images: [{ reference: parseReference(`${source}/app@${web.root.digest}`) }],
    output: bundle,
    platforms: [parsePlatform('linux/amd64')],
  });
  for (const originalIndex of ['original', 'filtered'] as const) {
    const host = await serveStore(t, { allowSparse: true });
    const announced: (string | undefined)[] = [];
    const { published } = await importImages({
      inputs: [bundle],
      to: parseSite(host),
      originalIndex,
      onNames: (names) => Promise.resolve(void announced.push(...names.map(({ site }) => site.digest))),
    });
    const [only] = published;
    assert.equal(only?.digest === web.root.digest, originalIndex === 'original');
    assert.equal(only?.target, `${host}/app@${only?.digest}`);
    assert.deepEqual(announced, [only?.digest]);
    const path = `/v2/app/manifests/${only?.digest}`;
    assert.equal((await askRegistry(host, { method: 'HEAD', path })).status, 200);
  }
});
