import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { failing, startFaultProxy, type FaultLog, type Rule } from '../support/faults.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const image = multiPlatform({
  name: 'odd registries',
  platforms: ['linux/amd64', 'linux/arm64'],
  bigBytes: 3_000_000,
});
const notAllowed: Rule['fault'] = {
  do: 'answer',
  status: 405,
  body: '{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}',
};
const tooLarge: Rule['fault'] = {
  do: 'answer',
  status: 413,
  headers: { 'content-type': 'text/html' },
  body: '<html><head><title>413 Request Entity Too Large</title></head></html>',
};

describe('registries with unusual behaviour', { skip: needs('docker-registry') }, () => {
  let bundle: string;
  const scratch: (() => Promise<void> | void)[] = [];
  const later = { after: (work: () => Promise<void> | void): void => void scratch.push(work) };

  before(async () => {
    const source = await serveStore(later);
    await pushImage(source, 'acme/app', '1', image);
    bundle = join(temp(later), 'site.tar');
    await airlift(['export', `${source}/acme/app:1`, '-o', bundle]);
  });
  after(async () => {
    for (const work of scratch.toReversed()) await work();
  });

  async function site(t: Cleanup, options = {}): Promise<DockerRegistry> {
    const registry = await startDockerRegistry(options);
    t.after(() => registry.stop());
    return registry;
  }

  /** Imports through a proxy with these rules, under two names, and checks that both images are complete. */
  async function publish(
    t: Cleanup,
    registry: DockerRegistry,
    rules: Rule[],
    ...flags: string[]
  ): Promise<FaultLog> {
    const proxy = await startFaultProxy({ upstream: `http://${registry.host}`, rules });
    t.after(() => proxy.stop());
    for (const prefix of ['one', 'two']) {
      await airlift(['import', bundle, '--to', `${proxy.host}/${prefix}`, '--retry-delay', '5ms', ...flags]);
      const { content } = await walkRegistry(registry.host, `${prefix}/acme/app`, '1');
      sameContent(content, await walkImage(image));
    }
    return proxy.log;
  }

  for (const relativeUrls of [false, true])
    test(`upload locations that are ${relativeUrls ? 'relative' : 'absolute'}, in one piece and in chunks`, async (t) => {
      const registry = await site(t, { relativeUrls });
      const whole = await publish(t, registry, []);
      assert.deepEqual(whole.find('PATCH'), []);
      for (const { target } of whole.find('PUT', /uploads/)) assert.match(target, /_state=.+&digest=sha256/);
      const other = await site(t, { relativeUrls });
      const chunked = await publish(t, other, [], '--chunk-size', '500k');
      assert.ok(chunked.find('PATCH').length >= 2 * 2 * 6);
      for (const { received } of chunked.find('PATCH')) assert.ok(received <= 500_000);
    });

  test('no HEAD on blobs and manifests', async (t) => {
    const registry = await site(t);
    const log = await publish(t, registry, [{ fault: notAllowed, method: 'HEAD' }]);
    assert.ok(log.find('HEAD').length > 0);
    // Existing blobs are still found, by reading one byte.
    const before = log.find('PUT', /uploads/).length;
    const proxy = await startFaultProxy({
      upstream: `http://${registry.host}`,
      rules: [{ fault: notAllowed, method: 'HEAD' }],
    });
    t.after(() => proxy.stop());
    await airlift(['import', bundle, '--to', `${proxy.host}/one`]);
    assert.ok(before > 0);
    assert.deepEqual(proxy.log.find('PUT', /uploads/), []);
  });

  test('no mounts', async (t) => {
    for (const fault of [notAllowed, failing(404)]) {
      const log = await publish(t, await site(t), [{ fault, method: 'POST', path: /mount=/ }]);
      assert.ok(log.find('PUT', /uploads/).length > 0);
    }
  });

  test('a proxy with a body size limit: chunks shrink until they fit', async (t) => {
    const limit = 1_000_000;
    const log = await publish(t, await site(t), [{ fault: tooLarge, method: /PUT|PATCH/, over: limit }]);
    const acceptedChunks = log.find('PATCH').filter(({ status }) => status === 202);
    assert.ok(acceptedChunks.length > 0);
    for (const { received } of acceptedChunks) assert.ok(received <= limit);
    // The limit is learned once: later blobs need no more attempts.
    const refused = log.requests.filter(({ status }) => status === 413);
    assert.ok(refused.length <= 2 * 8 * 3, `${refused.length} refused`);
    const hopeless = await startFaultProxy({
      upstream: `http://${(await site(t)).host}`,
      rules: [{ fault: tooLarge, method: /PUT|PATCH/, path: /uploads/, over: 1000 }],
    });
    t.after(() => hopeless.stop());
    const { stderr } = await airlift(['import', bundle, '--to', hopeless.host], { codes: [1] });
    assert.match(
      stderr,
      /too large for the registry or a proxy in front of it \(413.*\)\n {2}hint: .*--chunk-size/,
    );
  });
});
