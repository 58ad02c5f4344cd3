import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { AirliftError, isAirliftError } from '../../src/errors.js';
import type { Digest } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import type { Reference } from '../../src/oci/reference.js';
import type { Source } from '../../src/oci/source.js';
import {
  type BlobNode,
  type ManifestNode,
  type PlanOptions,
  type PlanRequest,
  Planner,
} from '../../src/plan/planner.js';
import { artifactOf, attestationOf } from '../support/artifacts.js';
import { bytesOf } from '../support/content.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { indexOf, plainBlob, type TestImage } from '../support/images.js';

/** A source of images in memory that records which content is fetched. */
class MemorySource implements Source {
  readonly fetched: Digest[] = [];

  constructor(private readonly images: Readonly<Record<string, TestImage>>) {}

  resolve(reference: Reference): ReturnType<Source['resolve']> {
    const image = this.images[reference.tag ?? ''];
    if (image === undefined)
      return Promise.reject(new AirliftError('not-found', `resolve ${reference.tag}: not there`));
    return Promise.resolve(image.root);
  }

  fetch(...[, { digest }]: Parameters<Source['fetch']>): Promise<Readable> {
    this.fetched.push(digest);
    for (const image of Object.values(this.images)) {
      const content = image.manifests.get(digest) ?? image.blobs.get(digest);
      if (content !== undefined) return Promise.resolve(Readable.from([bytesOf(content)]));
    }
    return Promise.reject(new AirliftError('not-found', `fetch ${digest}: not there`));
  }

  async *referrers(): ReturnType<Source['referrers']> {
    return;
  }
}

/** Collects a plan and checks that children come before parents, each digest once. */
class Sink {
  readonly manifests: ManifestNode[] = [];
  readonly blobs: BlobNode[] = [];
  readonly #seen = new Set<Digest>();

  has(digest: Digest): boolean {
    return this.#seen.has(digest);
  }

  addBlob(node: BlobNode): void {
    assert.ok(!this.#seen.has(node.descriptor.digest), 'each blob once');
    this.#seen.add(node.descriptor.digest);
    this.blobs.push(node);
  }

  addManifest(node: ManifestNode): void {
    assert.ok(!this.#seen.has(node.descriptor.digest), 'each manifest once');
    this.#seen.add(node.descriptor.digest);
    this.manifests.push(node);
    if (node.isOriginal === true) return;
    for (const edge of node.edges)
      if (edge.role !== 'subject') assert.ok(this.#seen.has(edge.child), 'children before parents');
  }
}

const named = (tag: string): PlanRequest => ({
  reference: { registry: 'registry.test', repository: 'acme/app', tag },
});
const platforms = (text: string): PlanOptions['platforms'] => text.split(',').map(parsePlatform);

test('all platforms kept: the index is byte-exact, each digest is fetched once, also over two tags', async () => {
  const image = multiPlatform({ name: 'app', attestations: true });
  const source = new MemorySource({ one: image, two: image });
  const sink = new Sink();
  const planner = new Planner(source, sink);
  const [[one], [two]] = await Promise.all([planner.plan(named('one')), planner.plan(named('two'))]);
  assert.equal(one?.root.digest, image.root.digest);
  assert.equal(two?.root.digest, image.root.digest);
  assert.equal(one.original, undefined);
  assert.deepEqual(
    new Set(sink.manifests.map((node) => node.descriptor.digest)),
    new Set(image.manifests.keys()),
  );
  assert.deepEqual(new Set(sink.blobs.map((node) => node.descriptor.digest)), new Set(image.blobs.keys()));
  assert.equal(source.fetched.length, new Set(source.fetched).size, 'nothing fetched twice');
  for (const node of sink.manifests)
    assert.deepEqual(node.bytes, bytesOf(image.manifests.get(node.descriptor.digest) ?? assert.fail()));
});

test('some platforms dropped: a filtered index, the original’s bytes beside it, attestations with their image', async () => {
  const image = multiPlatform({ name: 'app', attestations: true });
  const source = new MemorySource({ one: image });
  const sink = new Sink();
  const [planned] = await new Planner(source, sink, {
    platforms: platforms('linux/amd64,linux/arm/v7'),
  }).plan(named('one'));
  assert.equal(planned?.original?.digest, image.root.digest);
  const root = sink.manifests.find((node) => node.descriptor.digest === planned?.root.digest);
  const original = sink.manifests.find((node) => node.descriptor.digest === image.root.digest);
  assert.deepEqual(original?.bytes, bytesOf(image.manifests.get(image.root.digest) ?? assert.fail()));
  const children = (
    JSON.parse(root?.bytes.toString() ?? '') as { manifests: { platform: { architecture: string } }[] }
  ).manifests;
  assert.deepEqual(
    children.map((child) => child.platform.architecture),
    ['amd64', 'arm', 'unknown', 'unknown'],
  );
  assert.equal(sink.manifests.length, 2 + 4, 'two indexes, two images, two attestations');
});

test('choosing all available platforms keeps the index byte-exact', async () => {
  const image = multiPlatform({ name: 'app' });
  const sink = new Sink();
  const chosen = { platforms: platforms('linux/amd64,linux/arm64,linux/arm') };
  const [planned] = await new Planner(new MemorySource({ one: image }), sink, chosen).plan(named('one'));
  assert.equal(planned?.root.digest, image.root.digest);
  assert.equal(planned.original, undefined);
});

test('a nested index is filtered inside and above', async () => {
  const inner = multiPlatform({ name: 'inner' });
  const image = indexOf({ children: [inner, singlePlatform('linux/arm64', { name: 'beside' })] });
  const sink = new Sink();
  const [planned] = await new Planner(new MemorySource({ one: image }), sink, {
    platforms: platforms('linux/amd64'),
  }).plan(named('one'));
  assert.notEqual(planned?.root.digest, image.root.digest);
  const images = sink.manifests.filter((node) => node.manifest.kind === 'manifest');
  assert.equal(images.length, 1);
  assert.equal(images[0]?.platform?.architecture, 'amd64');
  const originals = sink.manifests.filter(({ isOriginal }) => isOriginal === true);
  assert.deepEqual(
    originals.map(({ descriptor }) => descriptor.digest),
    [inner.root.digest, image.root.digest],
    'the publisher’s nested index too, before the one that names it',
  );
});

test('a missing platform is an error that names the available ones, or a warning', async () => {
  const source = new MemorySource({
    one: multiPlatform({ name: 'app' }),
    single: singlePlatform('linux/arm64', { name: 'single' }),
  });
  const wanted = platforms('linux/amd64,linux/s390x');
  await assert.rejects(new Planner(source, new Sink(), { platforms: wanted }).plan(named('one')), (error) => {
    assert.ok(isAirliftError(error, 'platform-missing'));
    assert.match(error.message, /got linux\/amd64, linux\/arm64, linux\/arm\/v7, want linux\/s390x$/);
    return error.hint !== undefined;
  });
  const warnings: string[] = [];
  const options = {
    platforms: wanted,
    skipMissingPlatforms: true,
    warn: (text: string) => void warnings.push(text),
  };
  const [planned] = await new Planner(source, new Sink(), options).plan(named('one'));
  assert.notEqual(planned, undefined);
  assert.equal(warnings.length, 1);
  // Nothing at all to carry is an error even so.
  await assert.rejects(new Planner(source, new Sink(), options).plan(named('single')), (error) =>
    isAirliftError(error, 'platform-missing'),
  );
});

test('artifacts have no platform and are carried whatever is chosen', async () => {
  const artifact = artifactOf({
    artifactType: 'application/vnd.example.chart',
    blobs: [plainBlob('', 'text/plain')],
  });
  const sink = new Sink();
  await new Planner(new MemorySource({ one: artifact }), sink, { platforms: platforms('linux/s390x') }).plan(
    named('one'),
  );
  assert.deepEqual(new Set(sink.blobs.map((node) => node.descriptor.digest)), new Set(artifact.blobs.keys()));
});

test('an attestation alone never stands in for an image', async () => {
  const amd64 = singlePlatform('linux/amd64', { name: 'app' });
  const image = indexOf({ children: [amd64, attestationOf(amd64)] });
  await assert.rejects(
    new Planner(new MemorySource({ one: image }), new Sink(), { platforms: platforms('linux/arm64') }).plan(
      named('one'),
    ),
    (error) => isAirliftError(error, 'platform-missing'),
  );
});

test('a failure does not stick: the next reference asks again', async () => {
  const image = multiPlatform({ name: 'app' });
  const source = new MemorySource({ one: image, two: image });
  let failures = 1;
  const fetch = source.fetch.bind(source);
  source.fetch = (...args) =>
    failures-- > 0 ? Promise.reject(new AirliftError('network', 'gone')) : fetch(...args);
  const sink = new Sink();
  const planner = new Planner(source, sink);
  await assert.rejects(planner.plan(named('one')), (error) => isAirliftError(error, 'network'));
  await planner.plan(named('two'));
  assert.equal(sink.manifests.length, image.manifests.size);
});

test('an index that one image uses filtered and another whole is walked whole', async () => {
  const image = multiPlatform({ name: 'app' });
  const source = new MemorySource({ one: image, two: image });
  const manifests = new Set<Digest>();
  const blobs = new Set<Digest>();
  const planner = new Planner(source, {
    has: (digest) => blobs.has(digest),
    addBlob: (node) => void blobs.add(node.descriptor.digest),
    addManifest: (node) => void manifests.add(node.descriptor.digest),
  });
  await planner.plan({ ...named('one'), platforms: platforms('linux/arm64') });
  await planner.plan(named('two'));
  for (const digest of image.manifests.keys()) assert.ok(manifests.has(digest), digest);
  for (const digest of image.blobs.keys()) assert.ok(blobs.has(digest), digest);
});
