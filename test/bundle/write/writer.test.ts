import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BundleReader } from '../../../src/bundle/reader.js';
import { BundleWriter } from '../../../src/bundle/write/writer.js';
import { isAirliftError } from '../../../src/errors.js';
import { algorithmOf, digestOf, type Digest } from '../../../src/oci/digest.js';
import { parseReference } from '../../../src/oci/reference.js';
import { cosignOf, sbomOf } from '../../support/artifacts.js';
import { bytesOf, inMemory } from '../../support/content.js';
import { multiPlatform, singlePlatform } from '../../support/image-sets.js';
import { indexOf, platformJson } from '../../support/images.js';
import { temp } from '../../support/temp.js';
import { contentsOf, everyKind, fill, options, plan, writeBundle, type Cargo } from '../write-bundle.js';

const small: Cargo[] = [
  { reference: 'registry.example/acme/web:1', image: multiPlatform({ name: 'web', bigBytes: 300_000 }) },
];

function refusal(code: Parameters<typeof isAirliftError>[1], message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(isAirliftError(error), String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

test('the same images give the same bytes, whatever the order of planning and downloading', async (t) => {
  const dir = temp(t);
  const cargo = everyKind();
  await writeBundle(join(dir, 'a.tar'), cargo);
  await writeBundle(join(dir, 'b.tar'), cargo, { reverse: true, fingerprint: 'another' });
  assert.ok(readFileSync(join(dir, 'a.tar')).equals(readFileSync(join(dir, 'b.tar'))));
  assert.deepEqual(readdirSync(dir).sort(), ['a.tar', 'b.tar']);
});

test('every blob is where the catalog says: manifests and configs first, each group sorted by digest', async (t) => {
  const path = join(temp(t), 'a.tar');
  const cargo = everyKind();
  await writeBundle(path, cargo);
  const contents = contentsOf(cargo);
  const bytes = readFileSync(path);
  const reader = await BundleReader.open(path);
  t.after(() => reader.close());
  const order: string[] = [];
  let carried = 0;
  for (const { digest, size, kind, leftOut } of reader.blobs()) {
    const position = reader.position(digest);
    assert.equal(position === undefined, leftOut !== undefined);
    if (position === undefined) continue;
    carried++;
    const want = contents.get(digest);
    assert.ok(want !== undefined);
    assert.ok(bytes.subarray(position, position + size).equals(bytesOf(want)), digest);
    order.push(`${kind === 'layer' ? 1 : 0} ${digest}`);
  }
  assert.equal(carried, contents.size);
  assert.deepEqual(order, [...order].sort());
});

test('a bundle carries the original beside a filtered index', async (t) => {
  const path = join(temp(t), 'a.tar');
  const full = multiPlatform({ name: 'web' });
  const filtered = indexOf({
    children: [
      { image: singlePlatform('linux/arm64', { name: 'web' }), platform: platformJson('linux/arm64') },
    ],
  });
  const reference = `registry.example/web@${full.root.digest}`;
  await writeBundle(path, [{ reference, image: filtered, original: full }]);
  const reader = await BundleReader.open(path);
  t.after(() => reader.close());
  const [image] = [...reader.images()];
  assert.equal(image?.root.digest, filtered.root.digest);
  assert.equal(image.original?.digest, full.root.digest);
  assert.deepEqual(image.reference, parseReference(reference));
  const original = await reader.read(full.root.digest);
  assert.equal(digestOf(original), full.root.digest);
});

test('an existing file is not overwritten, except with replace', async (t) => {
  const path = join(temp(t), 'a.tar');
  writeFileSync(path, 'mine');
  await assert.rejects(BundleWriter.open(path, options), refusal('exists', /a\.tar: already exists/));
  assert.equal(readFileSync(path, 'utf8'), 'mine');
  await writeBundle(path, small, { replace: true });
  assert.equal(readFileSync(path).toString('latin1', 0, 10), 'oci-layout');
});

test('a broken symbolic link counts as an existing file', async (t) => {
  const path = join(temp(t), 'a.tar');
  symlinkSync('/nowhere/else', path);
  await assert.rejects(BundleWriter.open(path, options), refusal('exists', /already exists/));
});

test('the error of a missing directory names it', async (t) => {
  const path = join(temp(t), 'no/such/a.tar');
  await assert.rejects(
    BundleWriter.open(path, options),
    refusal('io', /no\/such: no such file or directory/),
  );
});

test('a time that tar cannot store is rejected', async (t) => {
  const path = join(temp(t), 'a.tar');
  for (const created of [new Date(-1000), new Date(Number.NaN), new Date(8.64e15)])
    await assert.rejects(BundleWriter.open(path, { ...options, created }), refusal('usage', /time/));
});

test('an incomplete bundle does not get its final name', async (t) => {
  const dir = temp(t);
  const writer = await BundleWriter.open(join(dir, 'a.tar'), options);
  await assert.rejects(writer.finish(), refusal('partial', /incomplete/));
  plan(writer, small);
  const { pendingBlobs } = await writer.layOut();
  await fill(writer, small, { limit: pendingBlobs - 1 });
  await assert.rejects(writer.finish(), refusal('partial', /incomplete; got \d+ blobs, want \d+/));
  await writer.close();
  assert.deepEqual(readdirSync(dir).sort(), ['a.tar.partial', 'a.tar.partial.journal']);
});

test('a discarded bundle leaves no files', async (t) => {
  const dir = temp(t);
  const writer = await BundleWriter.open(join(dir, 'a.tar'), options);
  plan(writer, small);
  await writer.layOut();
  await fill(writer, small, { limit: 1 });
  await writer.discard();
  await writer.close();
  assert.deepEqual(readdirSync(dir), []);
});

test('a run that ends while planning leaves its fetched content in the journal, or no files if it fetched nothing', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'a.tar');
  const empty = await BundleWriter.open(path, options);
  await empty.close();
  assert.deepEqual(readdirSync(dir), []);

  const writer = await BundleWriter.open(path, options);
  plan(writer, small);
  await writer.close();
  assert.deepEqual(readdirSync(dir), ['a.tar.partial.journal']);

  const next = await BundleWriter.open(path, options);
  t.after(() => next.discard());
  assert.equal(next.state, 'planning');
  for (const { image } of small)
    for (const [digest, content] of image.manifests) {
      assert.ok(!next.has(digest), 'it is not planned');
      assert.deepEqual(next.content(digest), bytesOf(content));
    }
});

test('the bundle does not contain the parts of a failed image', async (t) => {
  const path = join(temp(t), 'a.tar');
  const failed = singlePlatform('linux/arm64', { name: 'failed' });
  const signature = cosignOf(failed, 'sig').image;
  const sbom = sbomOf(failed);
  const writer = await BundleWriter.open(path, options);
  t.after(() => writer.close());
  plan(writer, [{ reference: undefined, image: failed }, ...small, { reference: undefined, image: sbom }]);
  plan(writer, [{ reference: undefined, image: signature }]);
  const error = { code: 'not-found', message: 'no such thing' } as const;
  writer.addFailure({ image: 'registry.example/failed:1', position: 7, error });
  await writer.layOut();
  const kept = contentsOf(small);
  assert.ok([...writer.pending()].every(({ descriptor }) => kept.has(descriptor.digest)));
  await fill(writer, small);
  assert.equal(writer.failures()[0]?.error.code, 'not-found');
  await writer.finish();
  const reader = await BundleReader.open(path);
  t.after(() => reader.close());
  assert.deepEqual([...reader.blobs()].map(({ digest }) => digest).sort(), [...kept.keys()].sort());
});

test('an incomplete plan is not laid out', async (t) => {
  const image = singlePlatform('linux/amd64', { name: 'x' });
  const bytes = bytesOf([...image.manifests.values()].at(-1) ?? inMemory(Buffer.alloc(0)));
  const missing = [...image.blobs.keys()][0] as Digest;
  const writer = await BundleWriter.open(join(temp(t), 'a.tar'), options);
  t.after(() => writer.discard());
  writer.addImage({ reference: parseReference('registry.example/x:1'), root: image.root });
  const edges = [{ child: missing, role: 'layer', position: 0 }] as const;
  writer.addManifest({ descriptor: image.root, bytes, manifest: {}, edges });
  await assert.rejects(writer.layOut(), refusal('input', new RegExp(missing)));
});

test('two sizes for one digest, and two roots for one reference, are conflicts', async (t) => {
  const writer = await BundleWriter.open(join(temp(t), 'a.tar'), options);
  t.after(() => writer.discard());
  const repository = { registry: 'registry.example', repository: 'a' };
  const { digest } = inMemory(Buffer.from('content'));
  writer.addBlob({ descriptor: { mediaType: 'x/y', digest, size: 7 }, role: 'layer', repository });
  assert.throws(
    () => writer.addBlob({ descriptor: { mediaType: 'x/y', digest, size: 8 }, role: 'layer', repository }),
    refusal('conflict', /disagree on its size; got 8, want 7/),
  );
  const [a, b] = ['a', 'b'].map((name) => singlePlatform('linux/amd64', { name }).root);
  assert.ok(a !== undefined && b !== undefined);
  const reference = parseReference('registry.example/a:1');
  writer.addImage({ reference, root: a });
  writer.addImage({ reference, root: a });
  assert.throws(() => writer.addImage({ reference, root: b }), refusal('conflict', /two roots/));
});

test('a second run is rejected with the name of the first, which continues', async (t) => {
  const path = join(temp(t), 'a.tar');
  const first = await BundleWriter.open(path, options);
  plan(first, small);
  const other = new RegExp(`process ${process.pid} on .* is writing it`);
  await assert.rejects(BundleWriter.open(path, options), refusal('busy', other));
  await first.layOut();
  await assert.rejects(BundleWriter.open(path, options), refusal('busy', other));
  await fill(first, small);
  await first.finish();
  assert.ok(existsSync(path));
});

test('content that planning fetched is written by the layout', async (t) => {
  const path = join(temp(t), 'a.tar');
  const writer = await BundleWriter.open(path, options);
  t.after(() => writer.discard());
  plan(writer, everyKind());
  await writer.layOut();
  const kept = new Set([...writer.pending()].map(({ descriptor }) => descriptor.digest));
  const file = readFileSync(writer.partialPath);
  for (const { image } of everyKind())
    for (const [digest, content] of image.manifests) {
      assert.ok(!kept.has(digest));
      assert.ok(file.includes(bytesOf(content)), digest);
      assert.equal(digestOf(bytesOf(content), algorithmOf(digest)), digest);
    }
});

test('pending blobs are listed largest first', async (t) => {
  const writer = await BundleWriter.open(join(temp(t), 'a.tar'), options);
  t.after(() => writer.discard());
  plan(writer, everyKind());
  await writer.layOut();
  const sizes = [...writer.pending()].map(({ descriptor }) => descriptor.size);
  assert.deepEqual(
    sizes,
    [...sizes].sort((a, b) => b - a),
  );
});

test('a directory in the place of the partial file is an error', async (t) => {
  const path = join(temp(t), 'a.tar');
  mkdirSync(`${path}.partial`);
  await assert.rejects(BundleWriter.open(path, options), refusal('io', /a\.tar\.partial/));
});

test('symbolic links in place of the output files are not followed', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'a.tar');
  const victim = join(dir, 'victim');
  writeFileSync(victim, 'mine');
  for (const suffix of ['partial', 'partial.owner']) symlinkSync(victim, `${path}.${suffix}`);
  await assert.rejects(BundleWriter.open(path, options), refusal('io', /a\.tar\.partial/));
  assert.equal(readFileSync(victim, 'utf8'), 'mine');
});

test('content that contradicts its descriptor is rejected while planning', async (t) => {
  const image = singlePlatform('linux/amd64', { name: 'x' });
  const writer = await BundleWriter.open(join(temp(t), 'a.tar'), options);
  t.after(() => writer.discard());
  const bytes = bytesOf(image.manifests.get(image.root.digest) ?? inMemory(Buffer.alloc(0)));
  const changed = Buffer.from(bytes).fill('x', 3, 4);
  const node = { descriptor: image.root, manifest: {}, edges: [] };
  assert.throws(
    () => writer.addManifest({ ...node, bytes: bytes.subarray(1) }),
    refusal('size-mismatch', /got \d+ bytes, want \d+/),
  );
  assert.throws(
    () => writer.addManifest({ ...node, bytes: changed }),
    refusal('digest-mismatch', new RegExp(`want ${image.root.digest}`)),
  );
});
