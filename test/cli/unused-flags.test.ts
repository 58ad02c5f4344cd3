import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { singlePlatform } from '../support/image-sets.js';
import { temp } from '../support/temp.js';

test('a flag that would have no effect is a usage error that names it', async (t) => {
  const dir = temp(t);
  const [bundle, text, key] = [join(dir, 'site.tar'), join(dir, 'notes.txt'), join(dir, 'home')];
  const image = singlePlatform('linux/amd64', { name: 'app' });
  await writeBundle(bundle, [{ reference: 'registry.example/acme/app:1', image }]);
  await airlift(['keygen', '-o', `${key}.key`, '-W']);
  writeFileSync(text, 'text');
  const request = ['export', '--request', 'site.request', '-o', 'repair.tar'];
  const intoBundle = ['import', bundle, '-o', join(dir, 'out.tar')];
  const published = ['import', bundle, '--to', '127.0.0.1:1'];
  const against = ['verify', bundle, '--against', '127.0.0.1:1'];
  const inventory = ['inventory', '127.0.0.1:1', '-o', join(dir, 'site.receipt')];
  const signed = ['verify', text, '--key', `${key}.pub`];
  for (const [args, flags, problem] of [
    [request, ['--base', 'old.tar'], /export --request: --base does not apply: a repair file has the blobs/],
    [request, ['--sent', 'site.sent'], /export --request: --sent does not apply/],
    [request, ['--lock', 'site.lock'], /--lock does not apply/],
    [request, ['--sign', 'x.key'], /--sign does not apply/],
    [request, ['--with-kit', 'linux/amd64'], /--with-kit does not apply/],
    [request, ['--volume-size', 'fat32'], /--volume-size does not apply/],
    [request, ['--platform', 'linux/amd64'], /--platform does not apply/],
    [request, ['--skip-missing-platforms'], /--skip-missing-platforms does not apply/],
    [request, ['--no-referrers'], /--no-referrers does not apply/],
    [request, ['--foreign-layers', 'keep'], /--foreign-layers does not apply/],
    [request, ['--all-tags'], /--all-tags does not apply/],
    [request, ['--refresh'], /--refresh does not apply/],
    [request, ['--keep-going'], /--keep-going does not apply/],
    [request, ['-j', '2'], /--concurrency does not apply/],
    [
      ['export', 'acme/app:1', '-o', 'x.tar'],
      ['--from', 'old.tar'],
      /export: --from applies only with --request/,
    ],
    [
      intoBundle,
      ['--on-existing-tag', 'skip'],
      /import --output: --on-existing-tag applies only to publishing/,
    ],
    [intoBundle, ['--keep-going'], /--keep-going applies only to publishing/],
    [intoBundle, ['--creds', 'me:secret'], /--creds applies only to publishing/],
    [intoBundle, ['--chunk-size', '1M'], /--chunk-size applies only to publishing/],
    [intoBundle, ['--base', 'old.tar'], /--base applies only to publishing/],
    [published, ['--force'], /import --to: --force applies only to a bundle that --output writes/],
    [published, ['--dry-run', '--base', 'old.tar'], /import --dry-run: --base applies only to publishing/],
    [published, ['--dry-run', '--request', 'x'], /import --dry-run: --request applies only/],
    [published, ['--dry-run', '--receipt', 'x'], /import --dry-run: --receipt applies only/],
    [published, ['--dry-run', '--emit', 'x'], /import --dry-run: --emit applies only/],
    [['verify', bundle], ['--index', 'original'], /verify: --index applies only with --against/],
    [['verify', bundle], ['--plain-http'], /verify: --plain-http applies only with --against/],
    [['verify', bundle], ['--rename', 'a=b'], /verify: --rename applies only with --against/],
    [against, ['--base', 'old.tar'], /verify: --base cannot be combined with --against/],
    [against, ['--quick'], /verify: --quick cannot be combined with --against/],
    [signed, ['--deep'], /notes\.txt: --deep applies only to bundles/],
    [signed, ['--base', 'old.tar'], /notes\.txt: --base applies only to bundles/],
    [['repair', bundle], ['--keep-registry'], /repair: --keep-registry needs --from-registry/],
    [['repair', bundle], ['--creds', 'me:secret'], /repair: --creds needs --from-registry/],
    [inventory, ['--keep-registry'], /inventory: --keep-registry applies only with --images or --bundle/],
    [
      ['diff', bundle, bundle],
      ['--rename', 'a=b'],
      /diff: --rename applies only to a bundle or record that is/,
    ],
  ] as const) {
    const { stderr, stdout } = await airlift([...args, ...flags], { codes: [2], cwd: dir });
    assert.match(stderr, problem);
    assert.match(stderr, /\n {2}hint: \S/);
    assert.equal(stdout, '');
    assert.ok(!stderr.includes('secret'));
  }
});
