import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { indexOf, type TestImage } from '../support/images.js';
import { singlePlatform } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { walkRegistry } from '../support/walk.js';

const [amd64, arm64, armV7] = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'].map((platform) =>
  singlePlatform(platform, { name: 'sparse' }),
) as [TestImage, TestImage, TestImage];
const index = indexOf({ children: [amd64, arm64, armV7] });
/** The index without its arm64 child. */
const sparse: TestImage = {
  ...index,
  manifests: new Map([...index.manifests].filter(([digest]) => digest !== arm64.root.digest)),
};

test('an index with missing children is an error, or is filtered with --skip-missing-platforms', async (t) => {
  const source = await serveStore(t, { allowSparse: true });
  await pushImage(source, 'acme/sparse', '1', sparse);
  const bundle = join(temp(t), 'site.tar');
  const exporting = ['export', `${source}/acme/sparse:1`, '-o', bundle];

  const refused = await airlift(exporting, { codes: [1] });
  assert.match(refused.stderr, new RegExp(`index ${index.root.digest} lists it for linux/arm64`));
  assert.match(refused.stderr, /\n {2}hint: .*--skip-missing-platforms/);
  const wanted = await airlift([...exporting, '--platform', 'linux/amd64,linux/arm64'], { codes: [1] });
  assert.match(wanted.stderr, new RegExp(`index ${index.root.digest} lists it for linux/arm64`));

  // Exports of other platforms are not affected.
  const chosen = await airlift([...exporting, '--platform', 'linux/amd64,linux/arm/v7']);
  assert.doesNotMatch(chosen.stderr, /warning/);
  const site = await serveStore(t);
  await airlift(['import', bundle, '--to', `${site}/chosen`]);

  const skipping = [...exporting, '--force', '--skip-missing-platforms'];
  const skipped = await airlift(skipping);
  assert.match(skipped.stderr, new RegExp(`warning: .*left out ${arm64.root.digest} \\(linux/arm64\\)`));
  await airlift(['verify', bundle]);
  await airlift(['import', bundle, '--to', `${site}/skipped`]);
  const nothing = await airlift([...skipping, '--platform', 'linux/arm64'], { codes: [1] });
  assert.match(nothing.stderr, /linux\/arm64/);

  for (const prefix of ['chosen', 'skipped']) {
    const repository = `${prefix}/acme/sparse`;
    const { root, content } = await walkRegistry(site, repository, '1');
    assert.ok(content.has(amd64.root.digest) && content.has(armV7.root.digest));
    assert.ok(!content.has(arm64.root.digest));
    const path = `/v2/${repository}/manifests/${root.digest}`;
    const { body } = await askRegistry(site, { method: 'GET', path, headers: { accept: root.mediaType } });
    const { manifests } = JSON.parse(body.toString()) as { manifests: { digest: string }[] };
    assert.deepEqual(
      manifests.map(({ digest }) => digest),
      [amd64.root.digest, armV7.root.digest],
    );
  }
});

test('an index keeps its other images and attestations if one child is missing', async (t) => {
  const source = await serveStore(t, { allowSparse: true });
  const nested = indexOf({ children: [index, singlePlatform('linux/s390x', { name: 'sparse' })] });
  const hole = {
    ...nested,
    manifests: new Map([...nested.manifests].filter(([digest]) => digest !== arm64.root.digest)),
  };
  await pushImage(source, 'acme/nested', '1', hole);
  const bundle = join(temp(t), 'site.tar');
  const { stderr } = await airlift([
    'export',
    `${source}/acme/nested:1`,
    '-o',
    bundle,
    '--skip-missing-platforms',
  ]);
  assert.match(stderr, new RegExp(`left out ${arm64.root.digest}`));
  const site = await serveStore(t);
  await airlift(['import', bundle, '--to', site]);
  const { content } = await walkRegistry(site, 'acme/nested', '1');
  assert.ok(
    content.has(amd64.root.digest) && content.has(armV7.root.digest) && !content.has(arm64.root.digest),
  );
});
