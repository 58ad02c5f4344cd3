import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { importImages } from '../../src/import/import.js';
import { serve } from '../../src/serve/serve.js';
import { airlift } from '../support/airlift.js';
import { cosignOf } from '../support/artifacts.js';
import { failsWith } from '../support/errors.js';
import { imageOf, indexOf, layer, type TestImage } from '../support/images.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { layoutMembers } from '../support/saved.js';
import { tarOf } from '../support/tar.js';
import { temp } from '../support/temp.js';

function image(platform: string, content = platform): TestImage {
  return imageOf({ platform, layers: [layer([{ name: 'about', content }])] });
}

const [amd64, arm64] = [image('linux/amd64'), image('linux/arm64')];
const both = indexOf({
  children: [
    { image: amd64, platform: 'linux/amd64' },
    { image: arm64, platform: 'linux/arm64' },
  ],
});

async function archive(t: TestContext, images: { name: string; image: TestImage }[]): Promise<string> {
  const path = join(temp(t), 'a.tar');
  await writeFile(path, tarOf(layoutMembers(images)));
  return path;
}

async function registry(t: TestContext): Promise<string> {
  const serving = await serve({ store: join(temp(t), 'store') }, { port: 0 });
  t.after(() => serving.close());
  return `${serving.host}:${serving.port}`;
}

async function tagsOf(host: string, repository: string): Promise<string[]> {
  const { status, body } = await askRegistry(host, { method: 'GET', path: `/v2/${repository}/tags/list` });
  return status === 404 ? [] : (JSON.parse(body.toString()) as { tags: string[] }).tags.sort();
}

suite('names that --arch-tags makes', () => {
  test('a name of another input is a conflict, before anything is pushed', async (t) => {
    const host = await registry(t);
    const path = await archive(t, [
      { name: 'team/app:1.0', image: both },
      { name: 'team/app:1.0-arm64', image: image('linux/arm64', 'another') },
    ]);
    const options = { inputs: [path], to: { registry: host }, registry: {} };
    await failsWith(
      importImages({ ...options, archTags: true }),
      'conflict',
      /team\/app:1\.0-arm64 would be docker\.io\/team\/app:1\.0-arm64, made by `archTags` from docker\.io\/team\/app:1\.0 \(sha256:/,
    );
    assert.deepEqual(await tagsOf(host, 'team/app'), []);
    const dry = await airlift(['import', path, '--to', host, '--arch-tags', '--dry-run'], { codes: [1] });
    assert.match(dry.stderr, /made by --arch-tags from docker\.io\/team\/app:1\.0/);
    assert.match(dry.stderr, /hint: leave out --arch-tags/);
    await importImages(options);
    assert.deepEqual(await tagsOf(host, 'team/app'), ['1.0', '1.0-arm64']);
  });

  test('a name that another input gives to the same image is listed once', async (t) => {
    const path = await archive(t, [
      { name: 'team/app:1.0', image: both },
      { name: 'team/app:1.0-arm64', image: arm64 },
    ]);
    const { stdout } = await airlift([
      'import',
      path,
      '--to',
      'site:5000',
      '--arch-tags',
      '--dry-run',
      '--json',
    ]);
    const names = (
      JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { site: string; digest: string }[]
    ).map(({ site, digest }) => [site, digest]);
    assert.deepEqual(names.sort(), [
      ['site:5000/team/app:1.0', both.root.digest],
      ['site:5000/team/app:1.0-amd64', amd64.root.digest],
      ['site:5000/team/app:1.0-arm64', arm64.root.digest],
      ['site:5000/team/app:1.0-arm64-arm64', arm64.root.digest],
    ]);
  });

  test('are in what --emit writes, and follow --rename', async (t) => {
    const host = await registry(t);
    const emit = join(temp(t), 'emit');
    const path = await archive(t, [{ name: 'team/app:1.0', image: both }]);
    const flags = ['--arch-tags', '--rename', 'team/*=mirror/*', '--emit', emit];
    await airlift(['import', path, '--to', host, ...flags]);
    const table = readFileSync(join(emit, 'names.tsv'), 'utf8');
    assert.ok(
      table.includes(`docker.io/team/app:1.0-arm64\t${host}/mirror/app:1.0-arm64\t${arm64.root.digest}\n`),
      table,
    );
    assert.deepEqual(await tagsOf(host, 'mirror/app'), ['1.0', '1.0-amd64', '1.0-arm64']);
  });

  test('tell Windows versions apart', async (t) => {
    const windows = (version: string): { image: TestImage; platform: object } => ({
      image: image('windows/amd64', version),
      platform: { os: 'windows', architecture: 'amd64', 'os.version': version },
    });
    const index = indexOf({ children: [windows('10.0.17763.1'), windows('10.0.20348.1')] as never });
    const path = await archive(t, [{ name: 'team/app:1.0', image: index }]);
    const { stdout } = await airlift(['import', path, '--to', 'site:5000', '--arch-tags', '--dry-run']);
    assert.match(stdout, /:1\.0-windows-amd64-10\.0\.17763\.1 /);
    assert.match(stdout, /:1\.0-windows-amd64-10\.0\.20348\.1 /);
  });

  test('that are not valid tags are reported before anything is pushed', async (t) => {
    const path = await archive(t, [{ name: `team/app:${'x'.repeat(125)}`, image: both }]);
    const { stderr } = await airlift(['import', path, '--to', 'site:5000', '--arch-tags'], { codes: [2] });
    assert.match(stderr, /x-arm64" is not a valid tag/);
  });
});

test('copy gives the tag of an image to no signature of another', async (t) => {
  const [one, two, to] = [await registry(t), await registry(t), await registry(t)];
  const signature = cosignOf(amd64, 'sig');
  await pushImage(one, 'team/app', '1', amd64);
  await pushImage(one, 'team/app', signature.tag, signature.image);
  await pushImage(two, 'team/app', signature.tag, cosignOf(arm64, 'sig').image);
  const sources = [`${one}/team/app:1`, `${two}/team/app:${signature.tag}`];
  for (const images of [sources, sources.toReversed()]) {
    const { stderr } = await airlift(['copy', ...images, '--to', to], { codes: [1] });
    assert.match(stderr, /sha256-[0-9a-f]{64}\.sig already names another manifest; got sha256:/);
  }
});

suite('names of what save writes', () => {
  test('that differ in their digest alone are a conflict where digests are dropped', async (t) => {
    const other = image('linux/amd64', 'other');
    const path = await archive(t, [
      { name: `team/app:1.0@${amd64.root.digest}`, image: amd64 },
      { name: `team/app:1.0@${other.root.digest}`, image: other },
    ]);
    for (const format of ['docker-archive', 'k3s']) {
      const output = join(temp(t), 'out.tar');
      const { stderr } = await airlift(['save', path, '--format', format, '-o', output], { codes: [1] });
      assert.match(stderr, /save docker\.io\/team\/app:1\.0: two images would get this name/);
      assert.equal(existsSync(output), false);
    }
  });

  test('two Windows versions get a node file each', async (t) => {
    const index = indexOf({
      children: ['10.0.17763.1', '10.0.20348.1'].map((version) => ({
        image: image('windows/amd64', version),
        platform: { os: 'windows', architecture: 'amd64', 'os.version': version },
      })) as never,
    });
    const path = await archive(t, [{ name: 'team/app:1.0', image: index }]);
    const dir = temp(t);
    const platforms = 'windows(10.0.17763.1)/amd64,windows(10.0.20348.1)/amd64,windows(10.0.20348.1)/x86_64';
    const { stdout } = await airlift([
      'save',
      path,
      '--format',
      'k3s',
      '--platform',
      platforms,
      '-o',
      `${dir}/`,
    ]);
    assert.match(stdout, /a-images-windows-10\.0\.17763\.1-amd64\.tar\.zst/);
    assert.match(stdout, /a-images-windows-10\.0\.20348\.1-amd64\.tar\.zst/);
    assert.equal(stdout.match(/saved 1 image/g)?.length, 2);
  });
});
