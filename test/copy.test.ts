import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { copyImages, type CopyOptions, type CopySummary } from '../src/copy.js';
import { isAirliftError } from '../src/errors.js';
import { parsePlatform } from '../src/oci/platform.js';
import { parseReference } from '../src/oci/reference.js';
import type { ProgressEvent } from '../src/progress.js';
import { parseSite } from '../src/site/names.js';
import { startDockerRegistry } from './support/docker-registry.js';
import { failing, startFaultProxy, type FaultProxy } from './support/faults.js';
import {
  assortment,
  companionsOf,
  multiPlatform,
  singlePlatform,
  type NamedImage,
} from './support/image-sets.js';
import { indexOf, type TestImage } from './support/images.js';
import { needs } from './support/peers.js';
import { pushImage } from './support/push-image.js';
import { askRegistry } from './support/registry-http.js';
import { serveStore } from './support/serve-store.js';
import { sameContent, walkImage, walkRegistry } from './support/walk.js';

const platforms = (...names: string[]): CopyOptions['platforms'] => names.map(parsePlatform);

async function copy(
  references: readonly string[],
  to: string,
  more: Partial<CopyOptions> = {},
): Promise<CopySummary> {
  return copyImages({
    images: references.map((text) => ({ reference: parseReference(text) })),
    to: parseSite(to),
    registry: { retries: 2, retryDelay: 1 },
    ...more,
  });
}

/** A proxy in front of a registry, which logs requests and injects faults. */
async function proxied(t: TestContext, host: string): Promise<FaultProxy> {
  const proxy = await startFaultProxy({ upstream: `http://${host}` });
  t.after(() => proxy.stop());
  return proxy;
}

async function pushAll(host: string, images: readonly NamedImage[]): Promise<void> {
  for (const { repository, tag, image } of images) await pushImage(host, repository, tag, image);
}

function reference(host: string, { repository, tag }: NamedImage): string {
  return `${host}/${repository}:${tag}`;
}

async function tagAt(host: string, repository: string, tag: string): Promise<string | undefined> {
  const answer = await askRegistry(host, {
    method: 'GET',
    path: `/v2/${repository}/manifests/${tag}`,
    headers: { accept: 'application/vnd.oci.image.index.v1+json' },
  });
  return answer.status === 200 ? answer.headers['docker-content-digest']?.toString() : undefined;
}

test('everything arrives byte for byte, each manifest fetched once; a second run sends nothing', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const all = assortment();
  // The content of foreign layers is not available in this test.
  const images = Object.values(all).filter((named) => named !== all['foreign']);
  const companions = companionsOf(all['signed'] ?? assert.fail());
  await pushAll(source, [...images, ...companions]);
  const [from, to] = [await proxied(t, source), await proxied(t, target)];
  const references = images.map((named) => reference(from.host, named));
  const events: ProgressEvent[] = [];
  const summary = await copy(references, to.host, { onEvent: (event) => void events.push(event) });
  assert.deepEqual(
    summary.copied.map(({ target: name }) => name).sort(),
    [...images, ...companions.filter(({ tag }) => tag !== undefined)]
      .map((named) => reference(to.host, named))
      .sort(),
  );
  for (const { repository, tag, image } of [...images, ...companions]) {
    const { content } = await walkRegistry(target, repository, tag ?? image.root.digest);
    sameContent(content, await walkImage(image));
  }
  const twice = [...from.log.served()].filter(([, { sent, distinct }]) => sent !== distinct);
  assert.deepEqual(twice, [], 'no byte is fetched twice');
  const gets = from.log.find('GET', /\/manifests\/sha/).map(({ target: path }) => path);
  assert.equal(new Set(gets).size, gets.length, 'no manifest is fetched twice');
  const done = events.filter((event) => event.event === 'image-done');
  assert.deepEqual(
    done.map(({ position, images: count }) => `${position}/${count}`),
    images.map((__, at) => `${at + 1}/${images.length}`),
  );

  to.log.clear();
  const again = await copy(references, to.host);
  assert.deepEqual(new Set(again.copied.map(({ outcome }) => outcome)), new Set(['unchanged']));
  assert.equal(again.uploadedBlobs, 0);
  const writes = to.log.requests.filter(({ method }) => ['POST', 'PUT', 'PATCH'].includes(method));
  assert.deepEqual(
    writes.map(({ method, target: path }) => `${method} ${path}`),
    [],
  );
});

test('platforms: a filtered index is made on the way, and the publisher’s is kept by its digest', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t, { allowSparse: true })];
  const web = assortment()['web'] ?? assert.fail();
  await pushAll(source, [web]);
  const summary = await copy([reference(source, web)], `${target}/team`, {
    platforms: platforms('linux/amd64', 'linux/arm/v7'),
  });
  assert.deepEqual(summary.lostPins, []);
  const digest = await tagAt(target, 'team/acme/web', '1.0');
  assert.equal(digest, summary.copied[0]?.digest);
  assert.notEqual(digest, web.image.root.digest);
  const { content } = await walkRegistry(target, 'team/acme/web', '1.0');
  const children = [...web.image.manifests.keys()].filter((child) => content.has(child));
  assert.equal(children.length, 4, 'two images and their attestations');
  assert.equal(await tagAt(target, 'team/acme/web', web.image.root.digest), web.image.root.digest);
});

test(
  'blobs are mounted and not fetched if source and destination are the same registry',
  { skip: needs('docker-registry') },
  async (t) => {
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    const tools = assortment()['tools'] ?? assert.fail();
    await pushAll(registry.host, [tools]);
    const proxy = await proxied(t, registry.host);
    const summary = await copy([reference(proxy.host, tools)], `${proxy.host}/mirror`);
    assert.deepEqual([summary.uploadedBlobs, summary.mountedBlobs], [0, tools.image.blobs.size]);
    const layers = proxy.log.find('GET', /\/blobs\//).filter(({ sent }) => sent > 2000);
    assert.deepEqual(layers, [], 'only configs are read');
    sameContent(
      (await walkRegistry(registry.host, `mirror/${tools.repository}`, tools.tag ?? '')).content,
      await walkImage(tools.image),
    );
  },
);

test('a broken source stream resumes where it broke, in the same upload', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const image = singlePlatform('linux/amd64', { name: 'big', bigBytes: 4_000_000 });
  await pushImage(source, 'acme/big', '1', image);
  const [from, to] = [await proxied(t, source), await proxied(t, target)];
  const big = [...image.blobs.values()].find(({ size }) => size > 4_000_000) ?? assert.fail();
  // Not `reset`, which would discard bytes in the kernel's buffers: a full megabyte must arrive.
  const path = new RegExp(`/blobs/${big.digest}`);
  from.use({ fault: { do: 'truncate', after: 1_000_000 }, method: 'GET', path, times: 3 });
  await copy([`${from.host}/acme/big:1`], to.host);
  sameContent((await walkRegistry(target, 'acme/big', '1')).content, await walkImage(image));
  const ranges = from.log.find('GET', path).filter(({ headers }) => headers.range !== undefined);
  assert.equal(ranges.length, 3, 'the rest is requested');
  const begun = to.log.find('POST', /\/blobs\/uploads\//);
  assert.equal(begun.length, image.blobs.size, 'one upload for each blob');
});

/** As many repositories as a run copies at once: other images start only after one of these is done. */
const lossy = ['acme/lossy-1', 'acme/lossy-2', 'acme/lossy-3', 'acme/lossy-4'];

test('a blob that one repository lost is copied from another repository of the same run', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const image = singlePlatform('linux/amd64', { name: 'shared', bigBytes: 300_000 });
  const repositories = [...lossy, 'acme/whole'];
  for (const repository of repositories) await pushImage(source, repository, '1', image);
  const from = await proxied(t, source);
  const big = [...image.blobs.values()].find(({ size }) => size > 300_000) ?? assert.fail();
  from.use({ fault: failing(404), method: 'GET', path: new RegExp(`/acme/lossy-./blobs/${big.digest}`) });
  const names = repositories.map((repository) => `${from.host}/${repository}:1`);
  assert.deepEqual((await copy(names, target)).failed, []);
  assert.ok(
    from.log.find('GET', /acme\/lossy-.\/blobs/).length > 0,
    'a repository without the blob was tried',
  );
  for (const repository of repositories)
    sameContent((await walkRegistry(target, repository, '1')).content, await walkImage(image));
  // Without another repository that has the blob, the image fails.
  await assert.rejects(copy(names.slice(0, 1), `${target}/alone`), { code: 'not-found' });
});

test('a blob that breaks off in one registry is copied from another registry of the same run', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const image = singlePlatform('linux/amd64', { name: 'shared', bigBytes: 300_000 });
  const repositories = [...lossy, 'acme/whole'];
  for (const repository of repositories) await pushImage(source, repository, '1', image);
  const [broken, whole] = [await proxied(t, source), await proxied(t, source)];
  const big = [...image.blobs.values()].find(({ size }) => size > 300_000) ?? assert.fail();
  broken.use({ fault: { do: 'truncate', after: 0 }, path: new RegExp(`/blobs/${big.digest}`) });
  const names = [
    ...lossy.map((repository) => `${broken.host}/${repository}:1`),
    `${whole.host}/acme/whole:1`,
  ];
  assert.deepEqual((await copy(names, target)).failed, []);
  assert.ok(broken.log.find('GET', new RegExp(`/blobs/${big.digest}`)).length > 0, 'the break was met');
  for (const repository of repositories)
    sameContent((await walkRegistry(target, repository, '1')).content, await walkImage(image));
});

test('a rerun after faults sends only the missing content', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const image = multiPlatform({ name: 'big', bigBytes: 300_000 });
  await pushImage(source, 'acme/big', '1', image);
  const to = await proxied(t, target);
  // The last manifest is rejected, after all blobs are pushed.
  to.use({ fault: failing(403), method: 'PUT', path: new RegExp(`/manifests/${image.root.digest}`) });
  await assert.rejects(copy([`${source}/acme/big:1`], to.host), (error) => isAirliftError(error, 'denied'));
  assert.equal(await tagAt(target, 'acme/big', '1'), undefined, 'no tag for an incomplete image');
  to.heal();
  to.log.clear();
  const summary = await copy([`${source}/acme/big:1`], to.host);
  assert.equal(summary.uploadedBlobs, 0);
  assert.deepEqual(to.log.find('PUT', /\/blobs\//), []);
  assert.equal(to.log.received(/\/blobs\//), 0, 'no byte of a blob is sent');
  sameContent((await walkRegistry(target, 'acme/big', '1')).content, await walkImage(image));
});

test('two images that want one tag are found before anything is pushed', async (t) => {
  const [one, two, target] = [await serveStore(t), await serveStore(t), await serveStore(t)];
  await pushImage(one, 'acme/api', '1', singlePlatform('linux/amd64', { name: 'one' }));
  await pushImage(two, 'acme/api', '1', singlePlatform('linux/amd64', { name: 'two' }));
  const to = await proxied(t, target);
  await assert.rejects(
    copy([`${one}/acme/api:1`, `${two}/acme/api:1`], to.host),
    (error) => isAirliftError(error, 'conflict') && error.message.includes('tag conflict'),
  );
  assert.deepEqual(to.log.requests, []);
});

test('one signature tag of two sources with different signatures is a conflict', async (t) => {
  const [one, two, target] = [await serveStore(t), await serveStore(t), await serveStore(t)];
  const image = multiPlatform({ name: 'signed' });
  const tag = `${image.root.digest.replace(':', '-')}.sig`;
  for (const [host, salt] of [
    [one, 'a'],
    [two, 'b'],
  ] as const) {
    await pushImage(host, 'acme/api', salt, image);
    await pushImage(host, 'acme/api', tag, singlePlatform('linux/amd64', { name: salt }));
  }
  await assert.rejects(
    copy([`${one}/acme/api:a`, `${two}/acme/api:b`], target),
    (error) => isAirliftError(error, 'conflict') && error.message.includes(tag),
  );
});

test('without --keep-going every image that cannot be resolved is named, and nothing is pushed', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const web = assortment()['web'] ?? assert.fail();
  await pushAll(source, [web]);
  const to = await proxied(t, target);
  const failed: string[] = [];
  const listen = (event: ProgressEvent): void => {
    if (event.event === 'image-failed') failed.push(event.image);
  };
  const references = [`${source}/acme/no:1`, reference(source, web), `${source}/acme/none:2`];
  await assert.rejects(copy(references, to.host, { onEvent: listen }), /2 of 3 images failed/);
  assert.deepEqual(failed.sort(), [`${source}/acme/no:1`, `${source}/acme/none:2`]);
  assert.deepEqual(to.log.requests, []);
  const summary = await copy(references, to.host, { keepGoing: true });
  assert.deepEqual(
    summary.copied.map(({ outcome }) => outcome),
    ['published'],
  );
  assert.deepEqual(
    summary.failed.map(({ error }) => error.code),
    ['not-found', 'not-found'],
  );
});

test('--index-only pushes the index and its tag alone, and names a child that is missing', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const web = assortment()['web'] ?? assert.fail();
  await pushAll(source, [web]);
  const to = await proxied(t, target);
  const children = [...web.image.manifests.values()].filter(({ digest }) => digest !== web.image.root.digest);
  const arm64 = children[1] ?? assert.fail();
  const withoutOne: TestImage = {
    ...web.image,
    manifests: new Map(children.filter((child) => child !== arm64).map((child) => [child.digest, child])),
  };
  await pushImage(target, 'acme/web', undefined, withoutOne);
  await assert.rejects(
    copy([reference(source, web)], to.host, { indexOnly: true }),
    (error) =>
      isAirliftError(error, 'not-found') &&
      error.message.includes(`${arm64.digest} (linux/arm64) is missing at the destination`),
  );
  assert.deepEqual(to.log.find('PUT'), []);

  await pushImage(target, 'acme/web', undefined, {
    ...web.image,
    manifests: new Map([[arm64.digest, arm64]]),
  });
  to.log.clear();
  const summary = await copy([reference(source, web)], to.host, { indexOnly: true });
  assert.equal(summary.copied[0]?.digest, web.image.root.digest);
  assert.deepEqual(
    to.log.requests.filter(({ method }) => !['GET', 'HEAD'].includes(method)).map(({ target: path }) => path),
    ['/v2/acme/web/manifests/1.0'],
  );
  assert.equal(await tagAt(target, 'acme/web', '1.0'), web.image.root.digest);
});

test('--no-referrers leaves signatures behind', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const signed = assortment()['signed'] ?? assert.fail();
  const companions = companionsOf(signed);
  await pushAll(source, [signed, ...companions]);
  const from = await proxied(t, source);
  await copy([reference(from.host, signed)], target, { referrers: false });
  for (const { image, tag } of companions)
    assert.equal(await tagAt(target, signed.repository, tag ?? image.root.digest), undefined);
  assert.deepEqual(from.log.find('HEAD', /sha256-/), []);
  assert.deepEqual(from.log.find('GET', /referrers/), []);
});

test('a child that the registry of its index lacks is an error, or left out with a warning', async (t) => {
  const [source, target] = [await serveStore(t, { allowSparse: true }), await serveStore(t)];
  const [amd64, arm64] = ['linux/amd64', 'linux/arm64'].map((name) =>
    singlePlatform(name, { name: 'sparse' }),
  );
  assert.ok(amd64 && arm64);
  const index = indexOf({ children: [amd64, arm64] });
  const sparse: TestImage = {
    ...index,
    manifests: new Map([...index.manifests].filter(([digest]) => digest !== arm64.root.digest)),
  };
  await pushImage(source, 'acme/sparse', '1', sparse);
  const name = `${source}/acme/sparse:1`;
  await assert.rejects(
    copy([name], target),
    (error) =>
      isAirliftError(error, 'not-found') &&
      error.message.includes(`index ${index.root.digest} lists it for linux/arm64`) &&
      error.hint?.includes('`skipMissingPlatforms`') === true,
  );
  await copy([name], target, { platforms: platforms('linux/amd64') });
  const warnings: string[] = [];
  const listen = (event: ProgressEvent): void => {
    if (event.event === 'warning') warnings.push(event.message);
  };
  const skipping = { skipMissingPlatforms: true, onEvent: listen };
  const whole = await copy([name], `${target}/all`, skipping);
  assert.match(warnings.join('\n'), new RegExp(`left out ${arm64.root.digest} \\(linux/arm64\\)`));
  const { content } = await walkRegistry(target, 'all/acme/sparse', whole.copied[0]?.digest ?? '');
  assert.ok(content.has(amd64.root.digest) && !content.has(arm64.root.digest));
  await assert.rejects(copy([name], target, { ...skipping, platforms: platforms('linux/arm64') }), (error) =>
    isAirliftError(error, 'platform-missing'),
  );
});
