import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BundleWriter } from '../../src/bundle/write/writer.js';
import { planFailedImages } from '../../src/export/retry-failed.js';
import { downloadBlobs } from '../../src/export/download.js';
import { planBundle, planOptionsOf } from '../../src/export/plan-images.js';
import { parseReference } from '../../src/oci/reference.js';
import { Registry } from '../../src/registry/registry.js';
import { env, startExportSetup } from '../support/exporting.js';
import { failing } from '../support/faults.js';
import { singlePlatform } from '../support/image-sets.js';
import { temp } from '../support/temp.js';

const small = singlePlatform('linux/amd64', { name: 'small', bigBytes: 300_000 });
const large = singlePlatform('linux/amd64', { name: 'large', bigBytes: 900_000 });

test('a dropped image joins the plan again once its blob is available, and is not resolved before', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('small', small);
  await setup.push('large', large);
  const names = setup.names('small', 'large');
  const want = await setup.undisturbed(...names);
  const registry = new Registry({ retries: 0 });
  t.after(() => registry.close());
  const output = join(temp(t), 'site.tar');
  const options = planOptionsOf({
    images: names.map((name) => ({ reference: parseReference(name) })),
    keepGoing: true,
  });
  const opened = { created: new Date(Number(env.SOURCE_DATE_EPOCH) * 1000), fingerprint: 'again' };
  const rest = { source: registry, registry: {}, hooks: {}, concurrency: 2, keepGoing: true };

  const first = await BundleWriter.open(output, opened);
  await planBundle(first, registry, options);
  await first.layOut();
  const blob = [...large.blobs.values()].find(({ size }) => size > 800_000);
  setup.proxy.use({ fault: failing(404), path: new RegExp(`blobs/${blob?.digest}`) });
  const { lost } = await downloadBlobs(first, rest);
  assert.deepEqual(first.dropImages(lost), [names[1]]);
  await first.layOut();
  await first.close();

  const second = await BundleWriter.open(output, opened);
  setup.proxy.log.clear();
  await planFailedImages(second, registry, options);
  assert.equal(second.state, 'laid-out', 'nothing has changed');
  assert.deepEqual(
    second.failures().map(({ image, error }) => [image, error.code]),
    [[names[1], 'not-found']],
  );
  assert.equal(setup.proxy.log.find('GET', /manifests/).length, 0);

  setup.proxy.heal();
  await planFailedImages(second, registry, options);
  assert.deepEqual(second.failures(), []);
  await second.layOut();
  assert.deepEqual((await downloadBlobs(second, rest)).lost, []);
  await second.finish();
  assert.ok(readFileSync(output).equals(want));
});
