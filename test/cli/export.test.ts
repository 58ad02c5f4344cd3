import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { airlift } from '../support/airlift.js';
import { artifactOf } from '../support/artifacts.js';
import { startFaultProxy, type FaultProxy } from '../support/faults.js';
import { companionsOf, multiPlatform, singlePlatform, type NamedImage } from '../support/image-sets.js';
import { indexOf } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';

const env = { SOURCE_DATE_EPOCH: '1700000000' };

/** Starts a registry behind a proxy that counts requests. */
async function counted(t: TestContext): Promise<{ host: string; proxy: FaultProxy }> {
  const host = await serveStore(t);
  const proxy = await startFaultProxy({ upstream: `http://${host}` });
  t.after(() => proxy.stop());
  return { host, proxy };
}

interface Preview {
  readonly images: readonly { image: string; platforms: string[]; bytes: number; newBytes: number }[];
  readonly failed: readonly { image: string }[];
  readonly blobs: number;
  readonly bytes: number;
  readonly requests: readonly { registry: string; manifests: number; others: number; blobs: number }[];
}

test('export --dry-run prints images, new bytes and the later number of requests, and writes nothing', async (t) => {
  const { host, proxy } = await counted(t);
  const shared = multiPlatform({ name: 'shared', bigBytes: 50_000 });
  await pushImage(host, 'acme/one', '1', shared);
  await pushImage(host, 'acme/two', '1', shared);
  await pushImage(host, 'acme/three', '1', singlePlatform('linux/amd64', { name: 'three' }));
  const dir = temp(t);
  const names = ['one', 'two', 'three'].map((name) => `${proxy.host}/acme/${name}:1`);
  const chosen = [...names, '--platform', 'linux/amd64'];
  const dry = await airlift(['export', ...chosen, '--dry-run', '--json', '-o', join(dir, 'site.tar')]);
  assert.deepEqual(readdirSync(dir), []);
  const preview = JSON.parse(dry.stdout) as Preview;
  assert.deepEqual(
    preview.images.map(({ image, platforms }) => [image, platforms]),
    names.map((name) => [name, ['linux/amd64']]),
  );
  const [one, two, three] = preview.images;
  assert.equal(one?.bytes, one?.newBytes);
  assert.ok((one?.bytes ?? 0) > 50_000);
  assert.deepEqual([two?.bytes, two?.newBytes], [one?.bytes, 0], 'the same image is not new again');
  assert.equal(preview.bytes, (one?.newBytes ?? 0) + (three?.newBytes ?? 0));

  const lookups = proxy.log.requests.length;
  proxy.log.clear();
  const { stdout } = await airlift(['export', ...chosen, '--json', '-o', join(dir, 'site.tar')]);
  const done = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as { blobs: number };
  assert.equal(preview.blobs, done.blobs);
  const [cost] = preview.requests;
  assert.equal(proxy.log.find('GET', /\/manifests\/sha256/).length, cost?.manifests);
  assert.equal((cost?.manifests ?? 0) + (cost?.others ?? 0), lookups);
  assert.equal(
    proxy.log.requests.length,
    lookups + (cost?.blobs ?? 0),
    'the export sends exactly the requests that the preview counts',
  );

  const people = await airlift(['export', ...chosen, '--dry-run']);
  assert.match(people.stdout, /^image +digest +size +new +platforms$/m);
  assert.match(people.stdout, /acme\/two:1 +sha256:\w{12} +\S+ kB +0 B +linux\/amd64$/m);
  assert.match(people.stdout, /^3 images, \d+ blobs, .* to fetch$/m);
  assert.match(people.stdout, /^nothing was written$/m);
});

test('export --dry-run previews a tag pattern, and lists failures', async (t) => {
  const host = await serveStore(t);
  for (const tag of ['1.27.0', '1.28.1', '1.29.0', '1.31.0'])
    await pushImage(host, 'acme/app', tag, singlePlatform('linux/amd64', { name: tag }));
  const args = ['export', `${host}/acme/app`, '--tags', 'semver:>=1.28 <1.31', '--dry-run', '--json'];
  const { images } = JSON.parse((await airlift(args)).stdout) as Preview;
  assert.deepEqual(
    images.map(({ image }) => image),
    [`${host}/acme/app:1.28.1`, `${host}/acme/app:1.29.0`],
  );
  const names = [`${host}/acme/app:1.27.0`, `${host}/acme/gone:1`];
  const failed = await airlift(['export', ...names, '--dry-run'], { codes: [1] });
  assert.match(failed.stderr, /resolve .*acme\/gone:1: .*not found/);
  const going = await airlift(['export', ...names, '--dry-run', '--keep-going', '--json'], { codes: [3] });
  const preview = JSON.parse(going.stdout) as Preview;
  assert.deepEqual([preview.images.length, preview.failed.map(({ image }) => image)], [1, [names[1]]]);
});

test('export without -o is rejected unless it is a dry run, and --dry-run rejects --lock', async (t) => {
  const dir = temp(t);
  const nothing = await airlift(['export', 'localhost:1/a:1'], { codes: [2] });
  assert.match(nothing.stderr, /export: no output file\n {2}hint: .*--dry-run/);
  const both = ['export', 'localhost:1/a:1', '--dry-run', '--lock', join(dir, 'site.lock.yaml')];
  await airlift(both, { codes: [2] });
  assert.deepEqual(readdirSync(dir), []);
});

test('the original nested indexes are exported beside the filtered ones, so that pinned digests resolve', async (t) => {
  const host = await serveStore(t);
  const inner = multiPlatform({ name: 'inner' });
  const image = indexOf({ children: [inner, singlePlatform('linux/arm64', { name: 'beside' })] });
  await pushImage(host, 'acme/nested', '1', image);
  const bundle = join(temp(t), 'site.tar');
  await airlift(['export', `${host}/acme/nested:1`, '--platform', 'linux/amd64', '-o', bundle]);
  await airlift(['verify', bundle]);
  const [lenient, strict] = [await serveStore(t, { allowSparse: true }), await serveStore(t)];
  const kept = await airlift(['import', bundle, '--to', lenient]);
  assert.ok(!kept.stdout.includes('not kept'));
  for (const { root } of [inner, image]) {
    const path = `/v2/acme/nested/manifests/${root.digest}`;
    assert.equal((await askRegistry(lenient, { method: 'GET', path })).status, 200);
  }
  const lost = await airlift(['import', bundle, '--to', strict]);
  assert.ok(lost.stdout.includes(`  ${strict}/acme/nested@${image.root.digest}`));
});

/** A signed image with an SBOM as referrer. */
function signedImage(): { image: NamedImage; others: readonly NamedImage[] } {
  const image = { repository: 'acme/app', tag: '1', image: multiPlatform({ name: 'app', bigBytes: 20_000 }) };
  return { image, others: companionsOf(image) };
}

test('an export from a lock gives the same bundle after tags and signatures have changed', async (t) => {
  const host = await serveStore(t);
  const dir = temp(t);
  const { image, others } = signedImage();
  for (const { repository, tag, image: content } of [image, ...others])
    await pushImage(host, repository, tag, content);
  await pushImage(host, 'acme/web', '2', singlePlatform('linux/arm64', { name: 'web' }));
  const [lock, first, second, third] = ['site.lock.yaml', 'first.tar', 'second.tar', 'third.tar'].map(
    (name) => join(dir, name),
  ) as [string, string, string, string];
  const chosen = [`${host}/acme/app:1`, `${host}/acme/web:2`, '--platform', 'linux/amd64,linux/arm64'];
  await airlift(['export', ...chosen, '--skip-missing-platforms', '-o', first, '--lock', lock], { env });
  const text = readFileSync(lock, 'utf8');
  assert.ok(text.includes(`digest: ${image.image.root.digest}`), 'the publisher’s index is what is locked');

  // Now the tags have moved and the image has more referrers.
  await pushImage(host, 'acme/app', '1', singlePlatform('linux/amd64', { name: 'newer' }));
  await pushImage(host, 'acme/web', '2', singlePlatform('linux/amd64', { name: 'newer' }));
  await pushImage(
    host,
    'acme/app',
    undefined,
    artifactOf({ artifactType: 'text/late', subject: image.image.root }),
  );
  const again = join(dir, 'again.lock.yaml');
  await airlift(['export', '--images', lock, '-o', second, '--lock', again], { env });
  assert.ok(readFileSync(first).equals(readFileSync(second)), 'the same bytes');
  assert.equal(readFileSync(again, 'utf8'), text, 'the lock of a lock is the same lock');

  // The lock may be both input and output.
  await airlift(['export', '--images', lock, '-o', third, '--lock', lock], { env });
  assert.equal(readFileSync(lock, 'utf8'), text);
  assert.ok(!existsSync(`${lock}.new`));

  // A copy from the lock adds no referrers either.
  const target = await serveStore(t);
  await airlift(['copy', '--images', lock, '--to', target]);
  const referrers = await askRegistry(target, {
    method: 'GET',
    path: `/v2/acme/app/referrers/${image.image.root.digest}`,
  });
  assert.ok(!referrers.body.toString().includes('text/late'));
});

test('a lock records --no-referrers', async (t) => {
  const host = await serveStore(t);
  const dir = temp(t);
  const { image, others } = signedImage();
  for (const { repository, tag, image: content } of [image, ...others])
    await pushImage(host, repository, tag, content);
  const lock = join(dir, 'lock.yaml');
  const [first, second] = [join(dir, 'first.tar'), join(dir, 'second.tar')];
  await airlift(['export', `${host}/acme/app:1`, '--no-referrers', '-o', first, '--lock', lock], { env });
  await airlift(['export', '--images', lock, '-o', second], { env });
  assert.ok(readFileSync(first).equals(readFileSync(second)));
});

test('a resumed export writes the lock of the interrupted plan', async (t) => {
  const { host, proxy } = await counted(t);
  const dir = temp(t);
  await pushImage(host, 'acme/app', '1', multiPlatform({ name: 'app', bigBytes: 20_000 }));
  const [lock, plain, bundle] = [join(dir, 'lock.yaml'), join(dir, 'plain.yaml'), join(dir, 'site.tar')];
  const command = ['export', `${proxy.host}/acme/app:1`, '-o', bundle, '--retries', '0'];
  proxy.use({ fault: { do: 'truncate', after: 100 }, method: 'GET', path: /\/blobs\//, nth: 4 });
  await airlift(command, { codes: [1] });
  assert.ok(existsSync(`${bundle}.partial`));
  proxy.heal();
  await pushImage(host, 'acme/app', '1', singlePlatform('linux/amd64', { name: 'newer' }));
  await airlift([...command, '--lock', lock]);
  await airlift(['export', '--images', lock, '-o', join(dir, 'other.tar'), '--lock', plain]);
  assert.equal(readFileSync(plain, 'utf8'), readFileSync(lock, 'utf8'));
});

test(
  'the catalog marks images with signature tags as signatures',
  { skip: needs('sqlite3', 'tar') },
  async (t) => {
    const host = await serveStore(t);
    const dir = temp(t);
    const { image, others } = signedImage();
    for (const { repository, tag, image: content } of [image, ...others])
      await pushImage(host, repository, tag, content);
    const bundle = join(dir, 'site.tar');
    await airlift(['export', `${host}/acme/app:1`, '-o', bundle]);
    const catalog = join(dir, 'catalog.db');
    writeFileSync(catalog, (await run('tar', ['-xOf', bundle, 'airlift/catalog.db'])).bytes);
    const rows = await run('sqlite3', [
      catalog,
      'SELECT reference, companion_of FROM images ORDER BY reference',
    ]);
    const tags = others.flatMap(({ tag }) => tag ?? []).sort();
    assert.deepEqual(rows.stdout.trim().split('\n'), [
      `${host}/acme/app:1|`,
      ...tags.map((tag) => `${host}/acme/app:${tag}|${tag.replace(/\.\w+$/, '').replace('-', ':')}`),
    ]);
  },
);
