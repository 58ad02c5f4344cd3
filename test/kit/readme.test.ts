import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readmeFor, readmeHeading } from '../../src/kit/readme.js';
import { runtimes } from '../../src/kit/runtimes.js';
import { digestOf } from '../../src/oci/digest.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';

const path = fileURLToPath(new URL('../../../src/kit/README-FIRST.txt', import.meta.url));
const files = { readme: readFileSync(path, 'utf8'), version: '1.2.3' };
const executables = runtimes.map((runtime) => ({
  platform: runtime.platform,
  file: `${runtime.platform.replace('/', '-')}.gz`,
  digest: digestOf(Buffer.from(runtime.platform)),
  size: 2,
  compressedSize: 1,
  runtime,
}));

test('the instructions begin with checks by programs of the site, and name each bundle', () => {
  const text = readmeFor(files, executables, { bundles: ['a.tar', 'b.tar'], images: [] });
  assert.ok(text.startsWith(`${readmeHeading(files)}\n`));
  const commands = text.split('\n').filter((line) => /^ {4}\S/.test(line));
  assert.deepEqual(
    commands.slice(0, 5).map((line) => line.trim()),
    [
      'cd DIRECTORY-OF-THIS-FILE',
      'sha256sum airlift/SHA256SUMS',
      'tar xOf a.tar airlift/SHA256SUMS | sha256sum',
      'tar xOf b.tar airlift/SHA256SUMS | sha256sum',
      '(cd airlift && sha256sum -c SHA256SUMS)',
    ],
  );
  for (const name of ['a.tar', 'b.tar'])
    assert.ok(text.includes(`\n    sh airlift/airlift import ${name} --to REGISTRY[:PORT]\n`), name);
  for (const { runtime, digest } of executables)
    for (const part of [runtime.integrity, runtime.program, digest]) assert.ok(text.includes(part), part);
  assert.doesNotMatch(text, /@[A-Z-]+@|podman/);
  const withImage = readmeFor(files, executables, { bundles: [], images: ['image.tar'] });
  assert.match(withImage, /\n {4}podman load -i airlift\/image\.tar\n/);
  assert.doesNotMatch(withImage, /@[A-Z-]+@/);
});

test('names of bundles are quoted, and names that cannot be typed are left out', () => {
  const text = readmeFor(files, executables, {
    bundles: ["it's $HOME.tar", '-o.tar', 'line\nbreak.tar', '@VERSION@.tar'],
    images: [],
  });
  for (const word of ["'it'\\''s $HOME.tar'", './-o.tar', '@VERSION@.tar'])
    assert.ok(text.includes(`\n    sh airlift/airlift verify ${word}\n`), word);
  assert.ok(!text.includes('break.tar'));
  assert.ok(readmeFor(files, executables, { bundles: ['\n'], images: [] }).includes('verify site.tar\n'));
});

test('no line but long digests is longer than 80 characters', () => {
  const long = readmeFor(files, executables, { bundles: [], images: ['image.tar'] })
    .split('\n')
    .filter((line) => line.length > 80);
  assert.deepEqual(
    long.filter((line) => !/^ +(?:sha512-|unpacked: sha256:|Node\.js .*sha256:)/.test(line)),
    [],
  );
});

test(
  'the commands that check signatures accept those of airlift and refuse those of other content',
  { skip: needs('minisign', 'openssl', 'tar') },
  async (t) => {
    const dir = temp(t);
    const bundle = join(dir, "officer's site.tar");
    await writeBundle(bundle, everyKind().slice(0, 2));
    for (const type of ['minisign', 'ecdsa-p256']) {
      await airlift(['keygen', '--type', type, '-o', join(dir, `${type}.key`), '--unencrypted']);
      await airlift(['sign', bundle, '--key', join(dir, `${type}.key`)]);
    }
    const text = readmeFor(files, executables, { bundles: ["officer's site.tar"], images: [] });
    const commands = text.replaceAll('\\\n', '').split('\n');
    const typed = async (start: string, key: string, codes = [0]): Promise<void> => {
      const command = commands.find((line) => line.trim().startsWith(start));
      assert.ok(command !== undefined, start);
      const here = command.replaceAll('/tmp/', `${dir}/`).replaceAll('/PATH/export.pub', join(dir, key));
      await run('sh', ['-c', here], { cwd: dir, codes });
    };
    const minisign = 'minisign -Vm /tmp/SHA256SUMS -x';
    await typed("tar xOf 'officer'\\''s site.tar' airlift/SHA256SUMS > /tmp", '');
    await typed(minisign, 'minisign.pub');
    await typed('openssl dgst -sha256 -verify', 'ecdsa-p256.pub');
    writeFileSync(join(dir, 'SHA256SUMS'), 'other');
    await typed(minisign, 'minisign.pub', [1]);
    await typed('openssl dgst -sha256 -verify', 'ecdsa-p256.pub', [1]);
  },
);
