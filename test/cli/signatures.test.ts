import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { companionsOf, multiPlatform } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';

test('signatures are counted as signatures by every command, and a filtered image says which digest they verify', async (t) => {
  const host = await serveStore(t);
  const site = await serveStore(t);
  const image = multiPlatform({ name: 'app', platforms: ['linux/amd64', 'linux/arm64'] });
  const named = { repository: 'team/app', tag: '1', image };
  for (const one of [named, ...companionsOf(named)])
    await pushImage(host, one.repository, one.tag, one.image);
  const dir = temp(t);
  const counts: string[] = [];
  for (const platform of [[], ['--platform', 'linux/amd64']]) {
    const bundle = join(dir, `site${platform.length}.tar`);
    const dry = await airlift(['export', `${host}/team/app:1`, ...platform, '--dry-run', '-q']);
    const shown = await airlift(['export', `${host}/team/app:1`, ...platform, '-o', `${bundle}.shown`]);
    assert.match(shown.stderr, /^1 image and 1 signature, \d+ blobs, .* to transfer$/m);
    const exported = await airlift(['export', `${host}/team/app:1`, ...platform, '-o', bundle, '-q']);
    const inspected = await airlift(['inspect', bundle]);
    const verified = await airlift(['verify', bundle]);
    const imported = await airlift(['import', bundle, '--to', `${site}/p${platform.length}`, '-q']);
    const copy = [
      'copy',
      `${host}/team/app:1`,
      ...platform,
      '--to',
      `${site}/copied${platform.length}`,
      '-q',
    ];
    const copied = await airlift(copy);
    for (const { stdout } of [dry, exported, inspected, verified, imported, copied])
      counts.push(
        /\d+ images?(?: and \d+ signatures?)?/.exec(stdout.replace(/^(published|unchanged).*$/gm, ''))?.[0] ??
          stdout,
      );
    const isFiltered = platform.length > 0;
    for (const { stdout } of [exported, inspected]) {
      assert.equal(stdout.includes(`${host}/team/app:1 (signed: ${image.root.digest})`), isFiltered, stdout);
      assert.equal(/export all platforms/.test(stdout), isFiltered);
    }
  }
  const [first] = counts;
  assert.match(first ?? '', /^1 image and \d+ signatures?$/);
  assert.deepEqual(new Set(counts.slice(0, 6)).size, 1, counts.join('\n'));
  assert.deepEqual(new Set(counts.slice(6)).size, 1, counts.join('\n'));
});
