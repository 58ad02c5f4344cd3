import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';

test(
  'import --emit keeps the entries of earlier bundles, and warns of merged repositories',
  { skip: needs('docker-registry') },
  async (t) => {
    const upstream = await startDockerRegistry();
    t.after(() => upstream.stop());
    const site = await startDockerRegistry();
    t.after(() => site.stop());
    const dir = temp(t);
    const nodes = join(dir, 'nodes');
    const bundles: string[] = [];
    for (const name of ['team/app', 'team/web']) {
      await pushImage(upstream.host, name, '1', multiPlatform({ name, platforms: ['linux/amd64'] }));
      const bundle = join(dir, `${name.replace('/', '-')}.tar`);
      await airlift(['export', `${upstream.host}/${name}:1`, '-o', bundle]);
      bundles.push(bundle);
    }
    for (const bundle of bundles) await airlift(['import', bundle, '--to', site.host, '--emit', nodes]);
    const read = (path: string): string => readFileSync(join(nodes, path), 'utf8');
    const table = read('names.tsv');
    assert.deepEqual(
      table
        .trimEnd()
        .split('\n')
        .slice(1)
        .map((line) => line.split('\t').slice(0, 2)),
      ['team/app:1', 'team/web:1'].map((name) => [`${upstream.host}/${name}`, `${site.host}/${name}`]),
    );
    assert.equal(read('kustomize/kustomization.yaml').match(/newName/g)?.length, 2);

    // Both bundles into a new folder give the same names.
    const together = join(dir, 'together');
    await airlift(['import', ...bundles, '--to', site.host, '--emit', together]);
    assert.equal(readFileSync(join(together, 'names.tsv'), 'utf8'), table);

    // Files of another program are not replaced, and nothing is pushed.
    const foreign = join(dir, 'foreign');
    mkdirSync(foreign);
    writeFileSync(join(foreign, 'registries.yaml'), 'mirrors: {}\n');
    const refused = await airlift(
      ['import', bundles[0] ?? '', '--to', `${site.host}/new`, '--emit', foreign],
      {
        codes: [2],
      },
    );
    assert.match(refused.stderr, /found registries\.yaml without the names\.tsv/);
    assert.equal(readFileSync(join(foreign, 'registries.yaml'), 'utf8'), 'mirrors: {}\n');

    // Images of two registries with the same path.
    const second = await startDockerRegistry();
    t.after(() => second.stop());
    await pushImage(second.host, 'team/app', '2', multiPlatform({ name: 'two', platforms: ['linux/amd64'] }));
    const merged = join(dir, 'merged.tar');
    await airlift(['export', `${upstream.host}/team/app:1`, `${second.host}/team/app:2`, '-o', merged]);
    for (const how of [['--dry-run'], []]) {
      const { stderr } = await airlift(['import', merged, '--to', site.host, ...how]);
      assert.ok(stderr.includes(`become one repository, ${site.host}/team/app`), stderr);
      assert.match(stderr, /hint: .*--keep-registry/);
    }
    const { stderr } = await airlift(['import', merged, '--to', site.host, '--keep-registry']);
    assert.ok(!stderr.includes('become one repository'), stderr);
  },
);
