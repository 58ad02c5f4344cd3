import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openInputs } from '../../src/merge/open-inputs.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { temp } from '../support/temp.js';

/** Returns the size of a bundle's catalog, as tar lists it. */
function listedSize(bundle: string): number {
  const list = execFileSync('tar', ['-tvf', bundle], { encoding: 'utf8' });
  return Number(/ (\d+) \S+ \S+ airlift\/catalog\.db$/m.exec(list)?.[1]);
}

test('opening a bundle tells the size of its catalog before its manifests are checked', async (t) => {
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, everyKind());
  const want = listedSize(bundle);
  assert.ok(want > 0);
  const sizes: number[] = [];
  const archives = { onCatalogSize: (bytes: number) => void sizes.push(bytes) };
  await (await openInputs({ inputs: [bundle], archives })).close();
  assert.deepEqual(sizes, [want]);

  const bytes = readFileSync(bundle);
  bytes.write('schemaversion', bytes.lastIndexOf('schemaVersion'));
  writeFileSync(bundle, bytes);
  await assert.rejects(openInputs({ inputs: [bundle], archives }), { code: 'damaged' });
  assert.deepEqual(sizes, [want, want]);
});
