import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { type ErrorCode } from '../../src/errors.js';
import { type Digest } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { parseReference } from '../../src/oci/reference.js';
import { saveImages, type SaveOptions } from '../../src/save/save.js';
import { testDigest } from '../support/content.js';
import { failsWith } from '../support/errors.js';
import { startFaultProxy } from '../support/faults.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { configOf, digestOfFile, manifestOf, type SavingSite, startSavingSite } from '../support/saving.js';
import { temp } from '../support/temp.js';
describe('saving', { skip: needs('docker-registry', 'tar') }, () => {
  let site: SavingSite;
  before(async () => (site = await startSavingSite()));
  after(() => site?.stop());

  test('the same images give the same bytes', async (t) => {
    const digests = new Set<string>();
    for (let turn = 0; turn < 2; turn++)
      digests.add(digestOfFile((await site.save(t, { format: 'oci-archive' })).path));
    const ordered = {
      format: 'k3s',
      platforms: [parsePlatform('linux/arm64')],
      skipMissingPlatforms: true,
    } as const;
    for (let turn = 0; turn < 2; turn++)
      digests.add(digestOfFile(`${(await site.save(t, ordered)).path}-images-arm64.tar.zst`));
    assert.equal(digests.size, 2);
  });

  test('an image that cannot be saved is an error, and no output remains', async (t) => {
    const dir = temp(t);
    const output = join(dir, 'out.tar');
    const from = { files: [site.bundle] };
    const cases: [options: Partial<SaveOptions>, code: ErrorCode, message: RegExp][] = [
      [{}, 'usage', /a docker-archive holds one platform of an image; got linux\/amd64, /],
      [
        { platforms: ['linux/amd64', 'linux/arm64'].map(parsePlatform) },
        'usage',
        /a docker-archive holds one platform; got linux\/amd64, linux\/arm64/,
      ],
      [
        { images: site.refs('docker-single'), platforms: [parsePlatform('linux/arm64')] },
        'platform-missing',
        /library\/single.* got linux\/amd64, want linux\/arm64/,
      ],
      [{ images: site.refs('artifact') }, 'input', /no image to save/],
      [
        { images: [parseReference('none')] },
        'not-found',
        /docker\.io\/library\/none:latest: the source does not hold this image/,
      ],
      [{ tags: ['x:1'] }, 'usage', /a new name without OLD= needs exactly one image; got 6/],
      [{ tags: ['none=x:1'] }, 'usage', /docker\.io\/library\/none:latest: no such image/],
      [
        { tags: [`${site.referenceOf(site.named('web'))}=${site.referenceOf(site.named('pause'))}`] },
        'conflict',
        /rancher\/pause:3\.1: two images would get this name/,
      ],
      [{ level: 11 }, 'usage', /got 11, want 1 to 9/],
      [{ format: 'k3s', platforms: [parsePlatform('linux/s390x')] }, 'platform-missing', /want linux\/s390x/],
      [
        { format: 'oci-archive', platforms: [parsePlatform('linux/s390x')] },
        'platform-missing',
        /want linux\/s390x/,
      ],
      [{ output: '-' }, 'usage', /standard output/],
      [{ output: join(dir, 'none', 'x.tar') }, 'io', /ENOENT/],
    ];
    for (const [options, code, message] of cases) {
      await failsWith(saveImages({ from, format: 'docker-archive', output, ...options }), code, message);
      assert.deepEqual(readdirSync(dir), []);
    }
  });

  test('an existing output is kept, or replaced with --force', async (t) => {
    const { path } = await site.save(t, { format: 'oci-archive', images: site.refs('web') });
    const before = digestOfFile(path);
    const again = { from: { files: [site.bundle] }, format: 'oci-archive', output: path } as const;
    await failsWith(saveImages({ ...again, images: site.refs('tools') }), 'exists', /it already exists/);
    assert.equal(digestOfFile(path), before);
    await saveImages({ ...again, images: site.refs('tools'), force: true });
    assert.notEqual(digestOfFile(path), before);
  });

  test('an interrupted run leaves nothing', async (t) => {
    const dir = temp(t);
    const stop = new AbortController();
    await failsWith(
      saveImages({
        from: { files: [site.bundle] },
        format: 'oci-archive',
        output: join(dir, 'x.tar'),
        signal: stop.signal,
        onEvent: (event) => {
          if (event.event === 'blob') stop.abort();
        },
      }),
      'interrupted',
      /interrupted/,
    );
    assert.deepEqual(readdirSync(dir), []);
  });

  test('multi-platform images of several archives become one OCI archive again', async (t) => {
    const image = multiPlatform({ name: 'x' });
    await site.push('acme/x', '1', image);
    const reference = parseReference(`${site.host}/acme/x:1`);
    const files: string[] = [];
    for (const platform of ['linux/amd64', 'linux/arm64', 'linux/arm/v7']) {
      const { path } = await site.save(t, {
        from: { references: [reference], registry: {} },
        format: 'oci-archive',
        platforms: [parsePlatform(platform)],
      });
      files.push(path);
    }
    const { path } = await site.save(t, { from: { files }, format: 'oci-archive' });
    const { stdout } = await run('tar', ['-xOf', path, 'index.json']);
    const { manifests } = JSON.parse(stdout) as { manifests: { digest: Digest }[] };
    const { stdout: index } = await run('tar', [
      '-xOf',
      path,
      `blobs/${manifests[0]?.digest.replace(':', '/')}`,
    ]);
    const children = (JSON.parse(index) as { manifests: { digest: Digest }[] }).manifests;
    assert.deepEqual(
      new Set(children.map(({ digest }) => digest)),
      new Set(['amd64', 'arm64', 'arm'].map((name) => manifestOf(image, name))),
    );
  });

  test('a docker-archive is written to a stream, and a broken stream is an error', async (t) => {
    const images = site.refs('docker-single');
    const { path } = await site.save(t, { format: 'docker-archive', images });
    const from = { files: [site.bundle] };
    const stdout = new PassThrough();
    const [bytes] = await Promise.all([
      buffer(stdout),
      saveImages({ from, format: 'docker-archive', output: '-', images, stdout }).then(() => stdout.end()),
    ]);
    assert.equal(testDigest(bytes), digestOfFile(path));
    const broken = new Writable({ write: (_chunk, _encoding, done) => done(new Error('broken pipe')) });
    await failsWith(
      saveImages({ from, format: 'docker-archive', output: '-', images, stdout: broken }),
      'io',
      /broken pipe/,
    );
  });

  for (const more of [[], [{ fault: { do: 'no-range' } }]] as const) {
    const how = more.length === 0 ? '' : ', or for all of it again';
    test(`after a connection breaks in the middle of layers, the rest is requested${how}`, async (t) => {
      const broken = { fault: { do: 'reset', after: 2_000_000 }, path: /\/blobs\//, times: 8 } as const;
      const proxy = await startFaultProxy({
        upstream: `http://${site.host}`,
        rules: [broken, ...more],
      });
      t.after(() => proxy.stop());
      const { path } = await site.save(t, {
        from: { references: [parseReference(`${proxy.host}/acme/tools:v2`)], registry: { retryDelay: 1 } },
        format: 'docker-archive',
        platforms: [parsePlatform('linux/amd64')],
      });
      const { stdout } = await run('tar', ['-xOf', path, 'manifest.json']);
      const { diffIds } = configOf(site.named('tools').image, 'amd64');
      const [{ Layers }] = JSON.parse(stdout) as [{ Layers: string[] }];
      for (const [at, layer] of Layers.entries()) {
        const { bytes } = await run('tar', ['-xOf', path, layer]);
        assert.equal(testDigest(bytes), diffIds[at]);
      }
      assert.equal(Layers.length, diffIds.length);
      assert.ok(proxy.log.requests.some(({ headers }) => headers.range !== undefined));
    });
  }
});
