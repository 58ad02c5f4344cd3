import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { ociIndex } from '../../src/oci/media-types.js';
import { Registry } from '../../src/registry/registry.js';
import { collect, content, opener, pushImage, smallImage } from './content.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { needs } from '../support/peers.js';

describe('Registry with docker-registry', { skip: needs('docker-registry') }, () => {
  let server: DockerRegistry;
  let registry: Registry;
  const at = (repository: string): { registry: string; repository: string } => ({
    registry: server.host,
    repository,
  });
  before(async () => {
    server = await startDockerRegistry();
    registry = new Registry({ retryDelay: 10 });
  });
  after(async () => {
    await registry?.close();
    await server?.stop();
  });

  it('pushes and fetches an image byte for byte', async () => {
    const image = smallImage('there-and-back', randomBytes(3_000_000));
    await pushImage(registry, at('acme/api'), '1.0', image);
    const root = await registry.resolve({ ...at('acme/api'), tag: '1.0' });
    assert.deepEqual(root, image.index.descriptor);
    for (const { descriptor, bytes } of Object.values(image) as (typeof image.layer)[]) {
      assert.equal(await registry.exists(at('acme/api'), descriptor), true);
      assert.deepEqual(await collect(await registry.fetch(at('acme/api'), descriptor)), bytes);
    }
    const half = await registry.fetch(at('acme/api'), image.layer.descriptor, { offset: 1_000_001 });
    assert.deepEqual(await collect(half), image.layer.bytes.subarray(1_000_001));
  });

  it('mounts from another repository', async () => {
    const blob = content(randomBytes(100_000));
    assert.equal(await registry.push(at('one/a'), blob.descriptor, opener(blob.bytes)), 'uploaded');
    const never = (): never => assert.fail('content was opened');
    assert.equal(
      await registry.push(at('two/b'), blob.descriptor, never, { mountFrom: at('one/a') }),
      'mounted',
    );
    assert.deepEqual(await collect(await registry.fetch(at('two/b'), blob.descriptor)), blob.bytes);
  });

  it('uploads a blob if the mount fails', async () => {
    const blob = content(randomBytes(1000));
    const pushed = await registry.push(at('three/c'), blob.descriptor, opener(blob.bytes), {
      mountFrom: at('not/there'),
    });
    assert.equal(pushed, 'uploaded');
  });

  it('transfers zero-byte and sha512 blobs', async () => {
    for (const blob of [content(''), content('sha512 content', 'text/plain', 'sha512')]) {
      await registry.push(at('odd'), blob.descriptor, opener(blob.bytes));
      assert.equal(await registry.exists(at('odd'), blob.descriptor), true);
      assert.deepEqual(await collect(await registry.fetch(at('odd'), blob.descriptor)), blob.bytes);
    }
  });

  it('never completes wrong content', async () => {
    const right = content(randomBytes(200_000));
    const wrong = Buffer.from(right.bytes);
    wrong[100_000] = (wrong[100_000] ?? 0) ^ 1;
    for (const [bytes, code] of [
      [wrong, 'digest-mismatch'],
      [right.bytes.subarray(0, 199_999), 'size-mismatch'],
      [Buffer.concat([right.bytes, Buffer.from('x')]), 'size-mismatch'],
    ] as const) {
      await assert.rejects(registry.push(at('bad'), right.descriptor, opener(bytes)), (error) =>
        isAirliftError(error, code),
      );
      assert.equal(await registry.exists(at('bad'), right.descriptor), false);
    }
  });

  it('reports missing content with the error code of the registry', async () => {
    await assert.rejects(registry.resolve({ ...at('acme/none'), tag: '1' }), {
      code: 'not-found',
      message: `resolve ${server.host}/acme/none:1: manifest not found (404 MANIFEST_UNKNOWN)`,
    });
    await assert.rejects(registry.fetch(at('acme/none'), content('nothing').descriptor), {
      code: 'not-found',
      status: 404,
    });
  });

  it('lists tags over several pages', async () => {
    const image = smallImage('tags');
    await pushImage(registry, at('tags'), 'a', image);
    for (const tag of ['b', 'c', '1.0'])
      await registry.tag({ ...at('tags'), tag }, image.index.descriptor, opener(image.index.bytes));
    const tags: string[] = [];
    for await (const tag of registry.tags(at('tags'))) tags.push(tag);
    assert.deepEqual(tags.sort(), ['1.0', 'a', 'b', 'c']);
    await assert.rejects(
      async () => {
        for await (const tag of registry.tags(at('no/such'))) assert.fail(tag);
      },
      {
        code: 'not-found',
        message: `list tags of ${server.host}/no/such: repository not found (404 NAME_UNKNOWN)`,
      },
    );
  });

  it('finds referrers under the fallback tag, unless the request was redirected to an image or to the subject itself', async () => {
    const [image, other] = [smallImage('referrers'), smallImage('other')];
    const subject = image.index.descriptor.digest;
    const listed = async (): Promise<string[]> => {
      const found = [];
      for await (const { digest } of registry.referrers(at('signed'), subject)) found.push(digest);
      return found;
    };
    await pushImage(registry, at('signed'), '1', image);
    assert.deepEqual(await listed(), []);
    await pushImage(registry, at('signed'), '2', other);
    const { descriptor } = image.manifest;
    const list = content(
      JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests: [descriptor] }),
      ociIndex,
    );
    await registry.push(at('signed'), list.descriptor, opener(list.bytes));
    for (const [held, want] of [
      [image.index, []],
      [other.index, []],
      [other.manifest, []],
      [list, [descriptor.digest]],
    ] as const) {
      const fallback = { ...at('signed'), tag: subject.replace(':', '-') };
      await registry.tag(fallback, held.descriptor, opener(held.bytes));
      assert.deepEqual(await listed(), want);
    }
  });

  it('uses the inline data of a descriptor', async () => {
    const { descriptor, bytes } = content('inline');
    const data = bytes.toString('base64');
    assert.deepEqual(await collect(await registry.fetch(at('nowhere'), { ...descriptor, data })), bytes);
  });
});
