import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copyImages, type CopyOptions } from '../../src/copy.js';
import { isAirliftError } from '../../src/errors.js';
import type { Digest } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { parseReference } from '../../src/oci/reference.js';
import { parseSite } from '../../src/site/names.js';
import { artifactOf } from '../support/artifacts.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { assortment, multiPlatform, singlePlatform } from '../support/image-sets.js';
import { indexOf, plainBlob, type TestImage } from '../support/images.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import type { Cleanup } from '../support/temp.js';
import { walkRegistry } from '../support/walk.js';

interface Child {
  readonly digest: Digest;
  readonly platform?: { readonly architecture: string; readonly variant?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Starts a registry, and returns functions that publish to its `app:1` (default: merging) and read it. */
async function site(t: Cleanup, host?: string) {
  const [source, target] = [await serveStore(t), host ?? (await serveStore(t))];
  return {
    target,
    publish: async (image: TestImage, ...platforms: string[]) => publish(image, platforms, {}),
    publishWith: publish,
    tagged,
    childrenOf: async (): Promise<readonly Child[]> =>
      (JSON.parse((await tagged()).bytes.toString()) as { manifests: Child[] }).manifests,
  };

  async function publish(image: TestImage, platforms: string[], more: Partial<CopyOptions>) {
    await pushImage(source, 'app', '1', image);
    const { copied } = await copyImages({
      images: [{ reference: parseReference(`${source}/app:1`) }],
      to: parseSite(target),
      platforms: platforms.length === 0 ? undefined : platforms.map(parsePlatform),
      registry: { retries: 0 },
      onExistingTag: 'merge',
      ...more,
    });
    return copied[0] ?? assert.fail();
  }

  async function tagged(): Promise<{ digest: string; bytes: Buffer; type: string }> {
    const accept = [
      'application/vnd.oci.image.index.v1+json',
      'application/vnd.docker.distribution.manifest.list.v2+json',
      'application/vnd.oci.image.manifest.v1+json',
    ].join(', ');
    const answer = await askRegistry(target, {
      method: 'GET',
      path: '/v2/app/manifests/1',
      headers: { accept },
    });
    assert.equal(answer.status, 200);
    // All content below the tag exists.
    await walkRegistry(target, 'app', '1');
    const digest = answer.headers['docker-content-digest']?.toString() ?? '';
    return { digest, bytes: answer.body, type: answer.headers['content-type'] ?? '' };
  }
}

const architectures = (children: readonly Child[]): string[] =>
  children.map(({ platform }) => `${platform?.architecture ?? 'none'}${platform?.variant ?? ''}`);

test('merge: platforms that only the site has stay, with their attestations; others are replaced', async (t) => {
  const app = await site(t);
  const old = multiPlatform({ name: 'old', attestations: true, platforms: ['linux/amd64', 'linux/arm64'] });
  const coming = multiPlatform({
    name: 'new',
    attestations: true,
    platforms: ['linux/amd64', 'linux/arm/v7'],
  });
  assert.equal((await app.publish(old)).outcome, 'published');
  const merged = await app.publish(coming);
  assert.equal(merged.outcome, 'merged');
  assert.equal((await app.tagged()).digest, merged.digest);
  const children = await app.childrenOf();
  assert.deepEqual(architectures(children), ['amd64', 'armv7', 'unknown', 'unknown', 'arm64', 'unknown']);
  const held = new Set<string>(children.map(({ digest }) => digest));
  assert.equal([...coming.manifests.keys()].filter((digest) => held.has(digest)).length, 4);
  assert.equal([...old.manifests.keys()].filter((digest) => held.has(digest)).length, 2);
  assert.equal((await app.publish(coming)).outcome, 'unchanged', 'nothing new comes');
  assert.equal((await app.tagged()).digest, merged.digest);
});

test('merge: one platform after the other makes the publisher’s index whole again, byte for byte', async (t) => {
  const app = await site(t);
  const image = multiPlatform({ name: 'web', attestations: true });
  const first = await app.publish(image, 'linux/amd64');
  assert.notEqual(first.digest, image.root.digest);
  const second = await app.publish(image, 'linux/arm64');
  assert.deepEqual(architectures(await app.childrenOf()), ['arm64', 'unknown', 'amd64', 'unknown']);
  assert.equal(second.outcome, 'merged');
  const third = await app.publish(image, 'linux/arm/v7');
  assert.equal(third.digest, image.root.digest);
  assert.equal((await app.tagged()).digest, image.root.digest);
  assert.equal((await app.publish(image, 'linux/arm64')).outcome, 'unchanged');
});

test('merge: images without an index become one, in the order of their platforms', async (t) => {
  const app = await site(t);
  const [arm64, amd64] = ['linux/arm64', 'linux/amd64'].map((name) =>
    singlePlatform(name, { name: 'single', flavour: 'docker' }),
  );
  assert.ok(arm64 && amd64);
  await app.publish(arm64);
  assert.equal((await app.publish(amd64)).outcome, 'merged');
  assert.deepEqual(architectures(await app.childrenOf()), ['amd64', 'arm64']);
  assert.equal((await app.tagged()).type, 'application/vnd.docker.distribution.manifest.list.v2+json');
  const replaced = singlePlatform('linux/amd64', { name: 'newer', flavour: 'docker' });
  await app.publish(replaced);
  const children = await app.childrenOf();
  assert.deepEqual(architectures(children), ['amd64', 'arm64']);
  assert.equal(children[0]?.digest, replaced.root.digest);
});

test('merge: a single image replaces one of the same platform', async (t) => {
  const app = await site(t);
  await app.publish(singlePlatform('linux/amd64', { name: 'old' }));
  const coming = singlePlatform('linux/amd64', { name: 'new' });
  assert.equal((await app.publish(coming)).outcome, 'published');
  assert.equal((await app.tagged()).digest, coming.root.digest);
});

test('merge: platforms of nested indexes at the site stay', async (t) => {
  const app = await site(t);
  const inner = multiPlatform({ name: 'inner', platforms: ['linux/s390x', 'linux/amd64'] });
  await app.publish(indexOf({ children: [inner] }));
  await app.publish(multiPlatform({ name: 'new', platforms: ['linux/amd64'] }));
  assert.deepEqual(architectures(await app.childrenOf()), ['amd64', 's390x']);
});

test('merge: children of a sparse index that the site lacks are not kept', async (t) => {
  const app = await site(t, await serveStore(t, { allowSparse: true }));
  const image = multiPlatform({ name: 'web' });
  await app.publishWith(image, ['linux/arm64'], { originalIndex: 'original' });
  await app.publish(multiPlatform({ name: 'new', platforms: ['linux/amd64'] }));
  assert.deepEqual(architectures(await app.childrenOf()), ['amd64', 'arm64']);
});

test('merge: an artifact is replaced, but does not replace images', async (t) => {
  const app = await site(t);
  const artifact = artifactOf({ artifactType: 'application/x', blobs: [plainBlob('x', 'text/plain')] });
  await app.publish(artifact);
  const image = multiPlatform({ name: 'web' });
  assert.equal((await app.publish(image)).outcome, 'published');
  await assert.rejects(app.publish(artifact), (error) => isAirliftError(error, 'conflict'));
  assert.equal((await app.tagged()).digest, image.root.digest);
});

test('an existing tag is unchanged with `skip`, and an error with `error`', async (t) => {
  const app = await site(t);
  const old = multiPlatform({ name: 'old' });
  await app.publish(old);
  const coming = multiPlatform({ name: 'new' });
  assert.equal((await app.publishWith(coming, [], { onExistingTag: 'skip' })).outcome, 'skipped');
  await assert.rejects(
    app.publishWith(coming, [], { onExistingTag: 'error' }),
    (error) => isAirliftError(error, 'exists') && error.hint?.includes('merge') === true,
  );
  assert.equal((await app.tagged()).digest, old.root.digest);
});

test(
  '--index: docker-registry rejects a sparse index, which is reported, or an error if it was requested',
  { skip: needs('docker-registry') },
  async (t) => {
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    const app = await site(t, registry.host);
    const web = assortment()['web']?.image ?? assert.fail();
    await assert.rejects(
      app.publishWith(web, ['linux/amd64'], { originalIndex: 'original' }),
      (error) =>
        isAirliftError(error, 'registry') &&
        error.message.includes('rejects indexes with missing platforms') &&
        error.hint?.includes("`originalIndex: 'filtered'`") === true,
    );
    const auto = await app.publishWith(web, ['linux/amd64'], {});
    assert.notEqual(auto.digest, web.root.digest);
  },
);

test('the originals of a filtered nested index are pushed by digest, all or none', async (t) => {
  const inner = multiPlatform({ name: 'inner' });
  const image = indexOf({ children: [inner, singlePlatform('linux/arm64', { name: 'beside' })] });
  const statusOf = async (host: string, digest: string): Promise<number> =>
    (await askRegistry(host, { method: 'HEAD', path: `/v2/app/manifests/${digest}` })).status;
  const lenient = await site(t, await serveStore(t, { allowSparse: true }));
  await lenient.publishWith(image, ['linux/amd64'], {});
  for (const { root } of [inner, image]) assert.equal(await statusOf(lenient.target, root.digest), 200);
  const strict = await site(t, await serveStore(t));
  await strict.publishWith(image, ['linux/amd64'], {});
  for (const { root } of [inner, image]) assert.equal(await statusOf(strict.target, root.digest), 404);
});

test('--index original tags the publisher’s index if the site accepts it; filtered never pushes it', async (t) => {
  const app = await site(t, await serveStore(t, { allowSparse: true }));
  const web = assortment()['web']?.image ?? assert.fail();
  const filtered = await app.publishWith(web, ['linux/amd64'], { originalIndex: 'filtered' });
  const path = `/v2/app/manifests/${web.root.digest}`;
  assert.equal((await askRegistry(app.target, { method: 'HEAD', path })).status, 404);
  const original = await app.publishWith(web, ['linux/amd64'], {
    originalIndex: 'original',
    onExistingTag: 'overwrite',
  });
  assert.notEqual(filtered.digest, original.digest);
  assert.equal(original.digest, web.root.digest);
});
