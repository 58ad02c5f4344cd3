import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { formatReference } from '../../src/oci/reference.js';
import { airlift } from '../support/airlift.js';
import { testDigest } from '../support/content.js';
import { newCosignKeys } from '../support/cosign.js';
import { env, filesBeside, slow, startExportSetup } from '../support/exporting.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';

const signatureAnnotation = 'dev.cosignproject.cosign/signature';

interface SignatureManifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly {
    readonly mediaType: string;
    readonly digest: string;
    readonly annotations: Readonly<Record<string, string>>;
  }[];
}

/** Creates the key of the export host, and returns the paths of its halves. */
async function imageKey(t: Cleanup): Promise<{ secret: string; public: string }> {
  const dir = temp(t);
  await airlift(['keygen', '-o', 'images.key', '-W', '--type', 'ecdsa-p256'], { cwd: dir });
  return { secret: join(dir, 'images.key'), public: join(dir, 'images.pub') };
}

/** Returns the images of a bundle as `name -> digest`, and the digest of the publisher's index of each filtered one. */
async function imagesOf(bundle: string): Promise<{ roots: Map<string, string>; originals: string[] }> {
  const reader = await BundleReader.open(bundle);
  try {
    const images = [...reader.images()];
    return {
      roots: new Map(images.map(({ reference, root }) => [formatReference(reference), root.digest])),
      originals: images.flatMap(({ original }) => (original === undefined ? [] : [original.digest])),
    };
  } finally {
    await reader.close();
  }
}

const tagOf = (digest: string): string => `${digest.replace(':', '-')}.sig`;

test(
  'export --sign-images signs filtered images for the site, with what they were cut from',
  { skip: needs('openssl') },
  async (t) => {
    const setup = await startExportSetup(t);
    const full = multiPlatform({ name: 'app' });
    await setup.push('app', full);
    await setup.push('app', full, '1.0');
    await setup.push('tool', singlePlatform('linux/amd64', { name: 'tool' }));
    const [app = '', tool = ''] = setup.names('app', 'tool');
    const repository = app.slice(0, -2);
    const key = await imageKey(t);
    const dir = temp(t);
    const [bundle, lock] = [join(dir, 'site.tar'), join(dir, 'site.lock')];
    const flags = ['--platform', 'linux/amd64', '--sign-images', key.secret];
    const { stdout } = await airlift(
      ['export', app, `${repository}:1.0`, tool, ...flags, '--lock', lock, '-o', bundle],
      { env },
    );
    assert.match(stdout, /^signed 2 filtered images; at the site: cosign verify --key/m);
    assert.doesNotMatch(stdout, /cosign verify fails/);

    const { roots } = await imagesOf(bundle);
    const digest = roots.get(app) ?? assert.fail();
    assert.notEqual(digest, full.root.digest);
    const signatureName = `${repository}:${tagOf(digest)}`;
    assert.deepEqual([...roots.keys()].sort(), [app, `${repository}:1.0`, signatureName, tool].sort());
    assert.ok(!readFileSync(lock, 'utf8').includes('.sig'), 'no registry has the signature of the lock');

    await airlift(['verify', bundle]);
    const verified = await airlift(['verify', bundle, '--cosign-key', key.public], { codes: [4] });
    const refusals = [...verified.stdout.matchAll(/^refused: (\S+): (.+)$/gm)].map(([, name, why]) => [
      name,
      why,
    ]);
    assert.deepEqual(refusals, [[tool, 'no signature of cosign travels with it']], 'it is not filtered');
    const stranger = newCosignKeys(t).publicPath;
    const refused = await airlift(['verify', bundle, '--cosign-key', stranger], { codes: [4] });
    assert.match(refused.stdout, /refused: \S+acme\/app:1: none of its 1 signatures of cosign is accepted/);

    const site = await serveStore(t, { allowSparse: true });
    await airlift(['import', bundle, '--to', site]);
    const get = async (path: string): Promise<Buffer> => {
      const headers = { accept: 'application/vnd.oci.image.manifest.v1+json' };
      const answer = await askRegistry(site, { method: 'GET', path: `/v2/acme/app/${path}`, headers });
      assert.equal(answer.status, 200, path);
      return answer.body;
    };
    assert.equal(testDigest(await get(`manifests/${full.root.digest}`)), full.root.digest, 'kept');
    const manifest = JSON.parse((await get(`manifests/${tagOf(digest)}`)).toString()) as SignatureManifest;
    const [layer = assert.fail()] = manifest.layers;
    assert.equal(layer.mediaType, 'application/vnd.dev.cosign.simplesigning.v1+json');
    const payload = await get(`blobs/${layer.digest}`);
    await get(`blobs/${manifest.config.digest}`);
    assert.deepEqual(JSON.parse(payload.toString()), {
      critical: {
        identity: { 'docker-reference': repository },
        image: { 'docker-manifest-digest': digest },
        type: 'cosign container image signature',
      },
      optional: { 'airlift.original': full.root.digest, 'airlift.platforms': 'linux/amd64' },
    });
    writeFileSync(join(dir, 'payload'), payload);
    writeFileSync(
      join(dir, 'payload.sig'),
      Buffer.from(layer.annotations[signatureAnnotation] ?? '', 'base64'),
    );
    const check = ['dgst', '-sha256', '-verify', key.public, '-signature', 'payload.sig', 'payload'];
    assert.match((await run('openssl', check, { cwd: dir })).stdout, /Verified OK/);

    const again = join(dir, 'again.tar');
    await airlift(['export', '--images', lock, '--sign-images', key.secret, '-o', again], { env });
    assert.deepEqual([...(await imagesOf(again)).roots.keys()], [...roots.keys()], 'by the lock');

    const delta = join(dir, 'delta.tar');
    await airlift(['export', app, ...flags, '--base', bundle, '-o', delta], { env });
    const alone = await airlift(['verify', delta, '--cosign-key', key.public]);
    assert.match(alone.stdout, /acme\/app:1: signed by key sha256:[0-9a-f]{64} \(a tag of cosign\)$/m);
    await airlift([
      'split',
      bundle,
      '--split-by',
      'image',
      '--part-size',
      '100M',
      '-o',
      join(dir, 'part.tar'),
    ]);
  },
);

test('an export with --sign-images resumes after kill -9, and takes no other key', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('large', multiPlatform({ name: 'large', bigBytes: 12_000_000 }));
  const [key, other] = [await imageKey(t), await imageKey(t)];
  const output = join(temp(t), 'site.tar');
  const args = [...setup.names('large'), '--platform', 'linux/amd64', '-o', output];
  setup.proxy.use(slow);
  for (const bytes of [2_000_000, 2_000_000])
    await setup.killAfter(bytes, ...args, '--sign-images', key.secret);
  setup.proxy.heal();
  const refused = await airlift(['export', ...args, '--sign-images', other.secret], { codes: [1, 2] });
  assert.match(refused.stderr, /interrupted|other content|--force/);
  await airlift(['export', ...args, '--sign-images', key.secret], { env });
  assert.deepEqual(filesBeside(output), []);
  await airlift(['verify', output, '--cosign-key', key.public]);
});

test('export --sign-images refuses a key of minisign, and parts', async (t) => {
  const dir = temp(t);
  await airlift(['keygen', '-o', 'site.key', '-W'], { cwd: dir });
  const args = ['export', 'registry.invalid/app:1', '-o', 'site.tar', '--sign-images', 'site.key'];
  const wrong = await airlift(args, { cwd: dir, codes: [2] });
  assert.match(wrong.stderr, /got a key of minisign, want an ECDSA key with curve P-256/);
  assert.match(wrong.stderr, /airlift keygen, of the type ecdsa-p256/);
  const parts = await airlift([...args, '--split-by', 'image', '--part-size', '1G'], {
    cwd: dir,
    codes: [2],
  });
  assert.match(parts.stderr, /--sign-images cannot be combined with --split-by/);
});
