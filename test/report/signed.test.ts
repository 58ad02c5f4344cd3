import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { reportOn } from '../../src/report/report.js';
import { writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import {
  attachedSignature,
  newCosignKeys,
  payloadOf,
  taggedAttestation,
  taggedSignature,
} from '../support/cosign.js';
import { indexOf, type TestImage } from '../support/images.js';
import { singlePlatform } from '../support/image-sets.js';
import { temp } from '../support/temp.js';
import { product } from './cargo.js';

const [web, api, bare] = ['web', 'api', 'bare'].map((name) =>
  product({ name, platforms: ['linux/amd64'] }),
) as [TestImage, TestImage, TestImage];
const spdx = 'https://spdx.dev/Document';
const named = (name: string, image: TestImage): Cargo => ({
  reference: `registry.example/acme/${name}:1`,
  image,
});
const underTag = (subject: TestImage, kind: 'sig' | 'att', image: TestImage): Cargo => ({
  reference: `registry.example/acme/x:${subject.root.digest.replace(':', '-')}.${kind}`,
  image,
  companionOf: subject.root.digest,
});

test('report --cosign-key says which key signed each signature and attestation, over exactly which image', async (t) => {
  const [keys, stranger] = [newCosignKeys(t), newCosignKeys(t)];
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, [
    named('web', web),
    underTag(web, 'sig', taggedSignature(keys, payloadOf(web.root.digest))),
    underTag(web, 'att', taggedAttestation(keys, web.root.digest, spdx)),
    named('api', api),
    { reference: undefined, image: attachedSignature(keys, api, api.root.digest) },
    // About another image.
    { reference: undefined, image: attachedSignature(keys, api, web.root.digest, spdx) },
    {
      reference: undefined,
      image: attachedSignature(stranger, api, api.root.digest, 'https://slsa.dev/provenance/v1'),
    },
    named('bare', bare),
  ]);
  const { images } = await reportOn(bundle, { cosignKeys: [keys.publicPath] });
  const found = images.map(({ reference, attached }) => [
    reference.split('/').at(-1),
    attached.map(({ kind, signature }) => `${kind} ${signature?.state}`).sort(),
  ]);
  assert.deepEqual(found, [
    ['api:1', ['attestation other-key', 'sbom other-key', 'signature valid']],
    ['bare:1', []],
    ['web:1', ['sbom valid', 'signature valid']],
  ]);
  const states = (await reportOn(bundle)).images.flatMap(({ attached }) =>
    attached.map(({ signature }) => signature?.state),
  );
  assert.deepEqual(new Set(states), new Set(['unchecked']));
  for (const more of [[], ['--no-verify']]) {
    const output = `${bundle}.html`;
    const flags = ['report', bundle, ...more, '--cosign-key', keys.publicPath, '-o', output];
    const { code, stderr } = await airlift(flags, { codes: [4] });
    assert.equal(code, 4, stderr);
    assert.match(stderr, /1 image without a signature by/);
    const html = readFileSync(output, 'utf8');
    assert.match(html, /2 of 3 signed by a given key/);
    assert.match(html, /✓ signed by key [^<]*publisher\.pub/);
    assert.match(html, /none of the given keys signed it about this manifest/);
    assert.equal(html.includes('Refused: nothing is lost or changed'), more.length === 0);
  }
  const { stdout } = await airlift(
    ['report', bundle, '--no-verify', '--cosign-key', keys.publicPath, '--format', 'csv', '-o', '-'],
    { codes: [4] },
  );
  const signers = stdout.split('\r\n').map((line) => /sha256:[0-9a-f]{64}$/.exec(line)?.[0]);
  assert.equal(signers.filter((id) => id !== undefined).length, 2);
});

test('report --cosign-key: a signature of another state is not hidden by --no-verify', async (t) => {
  const keys = newCosignKeys(t);
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, [
    named('web', web),
    underTag(web, 'sig', taggedSignature(keys, payloadOf(web.root.digest))),
  ]);
  const { stdout } = await airlift([
    'report',
    bundle,
    '--no-verify',
    '--cosign-key',
    keys.publicPath,
    '-o',
    '-',
  ]);
  assert.match(stdout, /1 of 1 signed by a given key/);
});

test('report --cosign-key: a signature of one platform is not one of the image', async (t) => {
  const keys = newCosignKeys(t);
  const bundle = join(temp(t), 'site.tar');
  const part = singlePlatform('linux/amd64', { name: 'part' });
  await writeBundle(bundle, [
    named('web', indexOf({ children: [part] })),
    { reference: undefined, image: attachedSignature(keys, part, part.root.digest) },
  ]);
  const flags = ['report', bundle, '--no-verify', '--cosign-key', keys.publicPath, '-o', '-'];
  const { stdout, stderr } = await airlift(flags, { codes: [4] });
  assert.match(stderr, /1 image without a signature by/);
  assert.match(stdout, /0 of 1 signed by a given key; 1 with a signature/);
  assert.match(stdout, /✓ signed by key [^<]*publisher\.pub/);
});
