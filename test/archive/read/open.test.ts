import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { Archive, ArchiveImage } from '../../../src/archive/read/archive.js';
import { openLayerMemory } from '../../../src/archive/read/layer-store.js';
import { openArchive, type OpenOptions } from '../../../src/archive/read/open.js';
import { isAirliftError } from '../../../src/errors.js';
import { testDigest } from '../../support/content.js';
import { elfFile } from '../../support/elf.js';
import { imageOf, indexOf, layer, type TestImage } from '../../support/images.js';
import { configOf, contentOf, manifestOf } from '../../support/read-source.js';
import {
  layoutMembers,
  savedMembers,
  savedShapes,
  type Saved,
  type SavedShape,
} from '../../support/saved.js';
import { tarOf, type TarMember } from '../../support/tar.js';
import { temp } from '../../support/temp.js';

const base = layer(
  [
    { name: 'etc/', type: 'directory' },
    { name: 'etc/passwd', content: 'root' },
  ],
  { compression: 'none' },
);
const program = (platform: string, name: string): TestImage =>
  imageOf({
    platform,
    layers: [
      base,
      layer([{ name: 'bin/app', content: elfFile(platform, name), mode: 0o755 }], { compression: 'none' }),
    ],
  });
const images: Saved[] = [
  { tags: ['busybox:1', 'example.test/team/busybox:latest'], image: program('linux/amd64', 'one') },
  { tags: ['rancher/pause:3.1'], image: program('linux/amd64', 'two') },
];

async function opened(
  t: TestContext,
  members: readonly TarMember[],
  options: OpenOptions = {},
  name = 'x.tar',
): Promise<Archive> {
  const path = join(temp(t), name);
  await writeFile(path, tarOf(members));
  const archive = await openArchive(path, options);
  t.after(() => archive.close());
  return archive;
}

async function imagesOf(archive: Archive): Promise<ArchiveImage[]> {
  const found: ArchiveImage[] = [];
  for await (const image of archive.images()) found.push(image);
  return found;
}

function saved(shape: SavedShape, which: readonly Saved[] = images): TarMember[] {
  return savedMembers(shape, which);
}

suite('archives of images without manifests', () => {
  for (const shape of savedShapes) {
    test(`${shape}: names, config, layers and platforms`, async (t) => {
      const tmpDir = temp(t);
      const archive = await opened(t, saved(shape), { tmpDir });
      assert.equal(archive.shape, 'docker-archive');
      const [one, two, ...more] = await imagesOf(archive);
      assert.ok(one !== undefined && two !== undefined && more.length === 0);
      assert.deepEqual(one.names, ['docker.io/library/busybox:1', 'example.test/team/busybox:latest']);
      assert.deepEqual(two.names, ['docker.io/rancher/pause:3.1']);
      for (const [at, { root, children }] of [one, two].entries()) {
        assert.equal(root.mediaType, 'application/vnd.oci.image.manifest.v1+json');
        const manifest = await manifestOf(archive, root);
        const config = await configOf(archive, manifest);
        const original = images[at]?.image as TestImage;
        const wanted = JSON.parse(
          Buffer.concat([...(original.manifests.get(original.root.digest)?.open() ?? [])]).toString(),
        ) as {
          config: { digest: string };
          layers: { digest: string }[];
        };
        assert.equal(manifest.config.digest, wanted.config.digest);
        const diffIds = [];
        for (const descriptor of manifest.layers) {
          assert.equal(descriptor.mediaType, 'application/vnd.oci.image.layer.v1.tar+gzip');
          diffIds.push(testDigest(gunzipSync(await contentOf(archive, descriptor))));
        }
        assert.deepEqual(diffIds, config.rootfs.diff_ids);
        assert.deepEqual(
          diffIds,
          wanted.layers.map(({ digest }) => digest),
        );
        assert.equal(children.length, 1);
        assert.deepEqual(children[0]?.platform?.platform.architecture, 'amd64');
        assert.equal(children[0]?.platform?.contradiction, undefined);
      }
      assert.equal(
        (await archive.resolve({ registry: 'docker.io', repository: 'rancher/pause', tag: '3.1' })).digest,
        two.root.digest,
      );
      await assert.rejects(
        archive.resolve({ registry: 'docker.io', repository: 'rancher/pause', tag: '3.2' }),
        { code: 'not-found' },
      );
      assert.deepEqual(await readdir(tmpDir), []);
    });
  }

  test('the same image gets the same manifest out of every shape with plain layers', async (t) => {
    const digests = new Set<string>();
    for (const shape of savedShapes.filter((name) => name !== 'crane' && name !== 'jib')) {
      for (const reversed of [false, true]) {
        const which = reversed ? images.toReversed() : images;
        const found = await imagesOf(await opened(t, saved(shape, which)));
        digests.add(
          found
            .map(({ root }) => root.digest)
            .sort()
            .join(),
        );
      }
    }
    assert.equal(digests.size, 1);
  });

  test('entries in any order', async (t) => {
    for (const shape of savedShapes)
      assert.equal((await imagesOf(await opened(t, saved(shape).toReversed()))).length, 2);
  });

  test('Docker manifests and unchanged layers, if requested', async (t) => {
    const docker = await opened(t, saved('docker-20'), {
      manifestFormat: 'docker',
      layerCompression: 'none',
    });
    for (const { root } of await imagesOf(docker)) {
      assert.equal(root.mediaType, 'application/vnd.docker.distribution.manifest.v2+json');
      const manifest = await manifestOf(docker, root);
      assert.equal(manifest.config.mediaType, 'application/vnd.docker.container.image.v1+json');
      for (const descriptor of manifest.layers) {
        assert.equal(descriptor.mediaType, 'application/vnd.docker.image.rootfs.diff.tar');
        await contentOf(docker, descriptor);
      }
      assert.deepEqual(
        manifest.layers.map(({ digest }) => digest),
        (await configOf(docker, manifest)).rootfs.diff_ids,
      );
    }
  });

  test('an image without a name, by crane’s tag or by none', async (t) => {
    const warnings: string[] = [];
    const [image] = images;
    assert.ok(image !== undefined);
    const warn = (text: string): unknown => warnings.push(text.replace(/^.*\//, ''));
    const crane = saved('crane', [{ ...image, tags: ['example.test/app:i-was-a-digest'] }]);
    assert.deepEqual((await imagesOf(await opened(t, crane, { warn })))[0]?.names, []);
    assert.deepEqual(warnings, [
      'app:i-was-a-digest: the image was pulled by digest and has no name; give it one with `archives.name`',
    ]);
    const docker = saved('docker-20', [{ ...image, tags: [] }]);
    assert.deepEqual((await imagesOf(await opened(t, docker, { warn })))[0]?.names, []);
  });

  test('cached layers are not compressed until they are read', async (t) => {
    const dir = temp(t);
    const path = join(dir, 'cache/layers');
    const before = await opened(t, saved('docker-20'), {
      layerMemory: await openLayerMemory(path, assert.fail),
    });
    const wanted = (await imagesOf(before)).map(({ root }) => root.digest);
    const noSpace = join(dir, 'missing');
    const again = await opened(t, saved('docker-20'), {
      layerMemory: await openLayerMemory(path, assert.fail),
      tmpDir: noSpace,
    });
    assert.deepEqual(
      (await imagesOf(again)).map(({ root }) => root.digest),
      wanted,
    );
    const lazily = await opened(t, saved('docker-20'), {
      layerMemory: await openLayerMemory(path, assert.fail),
    });
    for (const { root } of await imagesOf(lazily)) {
      const { layers } = await manifestOf(lazily, root);
      await Promise.all([...layers, ...layers].map((descriptor) => contentOf(lazily, descriptor)));
    }
    await assert.rejects(imagesOf(await opened(t, saved('docker-20'), { tmpDir: noSpace })), { code: 'io' });
  });
});

/** Asserts a failure of `code` whose message, without the directory of the archive, matches. */
async function assertFails(reading: Promise<unknown>, code: string, message: string | RegExp): Promise<void> {
  await assert.rejects(reading, (error) => {
    assert.ok(isAirliftError(error), String(error));
    const text = error.message.replaceAll(/\/\S+\/(x\.tar)/g, '$1');
    if (typeof message === 'string') assert.equal(text, message);
    else assert.match(text, message);
    assert.equal(error.code, code);
    return true;
  });
}

suite('broken archives of images', () => {
  /** Returns the archive with the content of one member changed, or without the member. */
  const altered = (
    shape: SavedShape,
    name: RegExp,
    alter: (content: Buffer) => Buffer | undefined,
  ): TarMember[] =>
    saved(shape).flatMap((member) => {
      if (!name.test(member.name) || member.content === undefined) return [member];
      const content = alter(Buffer.from(member.content));
      return content === undefined ? [] : [{ ...member, content }];
    });
  const flip = (content: Buffer): Buffer =>
    Buffer.concat([content.subarray(0, 600), Buffer.from('X'), content.subarray(601)]);
  const reading = async (t: TestContext, members: readonly TarMember[]): Promise<unknown> =>
    imagesOf(await opened(t, members));

  test('a layer that does not match its diff_id', async (t) => {
    for (const shape of ['docker-20', 'podman', 'docker-25'] as const) {
      const name = {
        'docker-20': /layer\.tar$/,
        podman: /\.tar$/,
        'docker-25': new RegExp(base.diffId.slice(7)),
      }[shape];
      await assertFails(
        reading(t, altered(shape, name, flip)),
        'digest-mismatch',
        /^read \S+ of docker\.io\/library\/busybox:1 in x\.tar: digest mismatch against rootfs\.diff_ids; got sha256:\w+, want sha256:\w+$/,
      );
    }
    await assertFails(
      reading(
        t,
        altered('crane', /\.tar\.gz$/, (content) => gzipSync(flip(gunzipSync(content)))),
      ),
      'digest-mismatch',
      /against rootfs\.diff_ids/,
    );
    await assertFails(
      reading(
        t,
        altered('crane', /\.tar\.gz$/, (content) => content.subarray(0, -9)),
      ),
      'damaged',
      /^decompress \S+\.tar\.gz of .* truncated/,
    );
  });

  test('a config that does not match its name', async (t) => {
    await assertFails(
      reading(
        t,
        altered('docker-20', /[0-9a-f]{64}\.json$/, (content) => Buffer.from(`${content.toString()} `)),
      ),
      'digest-mismatch',
      /^read config of docker\.io\/library\/busybox:1 in x\.tar: digest mismatch; got/,
    );
  });

  test('listed files that are missing', async (t) => {
    await assertFails(
      reading(
        t,
        altered('podman', /\.tar$/, () => undefined),
      ),
      'damaged',
      /^read x\.tar: "[0-9a-f]{64}\.tar" is missing from the archive, although manifest\.json lists it$/,
    );
    await assertFails(
      reading(
        t,
        altered('docker-20', /[0-9a-f]{64}\.json$/, () => undefined),
      ),
      'damaged',
      /is missing from the archive/,
    );
    for (const layers of [[], ['one', 'two', 'three']]) {
      const manifest = (content: Buffer): Buffer => {
        const [image] = JSON.parse(content.toString()) as { Layers: string[] }[];
        return Buffer.from(JSON.stringify([{ ...image, Layers: layers }]));
      };
      await assertFails(
        reading(t, altered('docker-20', /^manifest\.json$/, manifest)),
        'damaged',
        `read docker.io/library/busybox:1 in x.tar: the layers do not match the config; got ${layers.length}, want 2`,
      );
    }
  });

  test('paths that lead outside the archive', async (t) => {
    for (const path of ['../../etc/passwd', '/../etc/passwd']) {
      const manifest = (): Buffer =>
        Buffer.from(JSON.stringify([{ Config: path, RepoTags: ['a:1'], Layers: [] }]));
      await assertFails(
        reading(t, altered('docker-20', /^manifest\.json$/, manifest)),
        'damaged',
        `read x.tar: ${JSON.stringify(path)} is a path that leads outside the archive`,
      );
    }
  });

  test('documents that are malformed or far too large', async (t) => {
    for (const [content, message] of [
      ['[', 'parse manifest.json in x.tar: not JSON'],
      ['{}', 'parse manifest.json in x.tar: not a list'],
      ['[{}]', 'parse manifest.json in x.tar item 0: no Config field'],
      ['[{"Config":"a","Layers":7}]', 'parse manifest.json in x.tar item 0 Layers: not a list of strings'],
      [
        '[{"Config":"a","RepoTags":[7]}]',
        'parse manifest.json in x.tar item 0 RepoTags: not a list of strings',
      ],
      [
        ' '.repeat(100_000_000),
        'read manifest.json in x.tar: too large; got 100000000 bytes, want at most 33554432',
      ],
    ] as const) {
      await assertFails(
        reading(
          t,
          altered('docker-20', /^manifest\.json$/, () => Buffer.from(content)),
        ),
        'input',
        message,
      );
    }
    const config = Buffer.from('{"rootfs":{"diff_ids":["nonsense"]}}');
    const members = [
      { name: 'config.json', content: config },
      { name: 'manifest.json', content: '[{"Config":"config.json","Layers":[]}]' },
    ];
    await assertFails(
      reading(t, members),
      'input',
      'parse config of config.json in x.tar: no valid rootfs.diff_ids',
    );
    await assertFails(
      reading(t, [
        { name: 'manifest.json', content: '[]' },
        { name: 'manifest.json', content: '[{}]' },
      ]),
      'damaged',
      'read x.tar: "manifest.json" occurs more than once in the archive, with different content',
    );
  });

  test('other kinds of archives are recognised', async (t) => {
    const cases: [members: TarMember[], code: string, message: string | RegExp][] = [
      [
        [{ name: 'bin/sh', content: 'x' }],
        'unsupported',
        'read x.tar: a root file system, as written by docker export, not images',
      ],
      [[{ name: 'repositories', content: '{}' }], 'unsupported', 'read x.tar: written by docker before 1.10'],
      [
        [{ name: 'app/Chart.yaml', content: 'name: app' }],
        'unsupported',
        'read x.tar: a Helm chart, not images',
      ],
      [
        [{ name: 'x', content: 'x' }],
        'input',
        'read x.tar: not an archive of images: it contains neither manifest.json nor index.json',
      ],
      [
        [{ name: 'manifest.json', content: '{"schemaVersion":2}' }],
        'input',
        /^parse manifest\.json in x\.tar: /,
      ],
      [
        [
          { name: 'oci-layout', content: '{"imageLayoutVersion":"2.0.0"}' },
          { name: 'index.json', content: '{"manifests":[]}' },
        ],
        'unsupported',
        'read x.tar: unsupported OCI layout version; got "2.0.0", want "1.0.0"',
      ],
    ];
    for (const [members, code, message] of cases) await assertFails(opened(t, members), code, message);
  });
});

suite('OCI layouts', () => {
  const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'];
  const index = indexOf({
    children: platforms.map((platform) => program(platform, 'three')),
    annotations: { a: 'b' },
  });

  test('an index, complete or with only some of its children', async (t) => {
    const name = 'docker.io/library/app:1';
    const [whole] = await imagesOf(await opened(t, layoutMembers([{ name, image: index }])));
    assert.ok(whole !== undefined);
    assert.deepEqual(whole.names, [name]);
    assert.equal(whole.root.digest, index.root.digest);
    assert.deepEqual(whole.missing, []);
    assert.deepEqual(
      whole.children.map(({ platform }) => platform?.platform.architecture),
      ['amd64', 'arm64', 'arm'],
    );
    const arm64 = program('linux/arm64', 'three');
    const here = new Set<string>([...arm64.blobs.keys(), ...arm64.manifests.keys(), index.root.digest]);
    const archive = await opened(
      t,
      layoutMembers([{ name, image: index }], (digest) => here.has(digest)),
    );
    const [part] = await imagesOf(archive);
    assert.equal(part?.root.digest, index.root.digest);
    assert.deepEqual(
      part?.children.map(({ descriptor }) => descriptor.digest),
      [arm64.root.digest],
    );
    assert.equal(part?.missing.length, 2);
    assert.equal(archive.shape, 'oci-layout');
  });

  test('a child without one of its layers is missing; a root without is damaged', async (t) => {
    const lost = [...program('linux/arm64', 'three').blobs.keys()].at(-1);
    const members = (image: TestImage): TarMember[] =>
      layoutMembers([{ name: 'a/b:1', image }], (digest) => digest !== lost);
    const [part] = await imagesOf(await opened(t, members(index)));
    assert.deepEqual(
      part?.children.map(({ descriptor }) => descriptor.platform?.architecture),
      ['amd64', 'arm'],
    );
    const alone = program('linux/arm64', 'three');
    await assertFails(
      (async () => imagesOf(await opened(t, members(alone))))(),
      'damaged',
      `read x.tar: ${alone.root.digest}: no manifest below it is complete; missing ${alone.root.digest}`,
    );
  });

  test('a directory, and names in every form', async (t) => {
    const dir = join(temp(t), 'layout');
    const image = program('linux/amd64', 'one');
    for (const member of layoutMembers([{ name: undefined, image }])) {
      await mkdir(join(dir, member.name, '..'), { recursive: true });
      await writeFile(join(dir, member.name), member.content ?? '');
    }
    const ref = 'org.opencontainers.image.ref.name';
    const cases: [annotations: Record<string, string>, names: string[], tag: string | undefined][] = [
      [{}, [], undefined],
      [{ [ref]: '1.0' }, [], '1.0'],
      [
        { [ref]: 'latest', 'io.containerd.image.name': 'docker.io/library/a:latest' },
        ['docker.io/library/a:latest'],
        undefined,
      ],
      [{ [ref]: 'busybox:1' }, ['docker.io/library/busybox:1'], undefined],
      [{ [ref]: 'example.test:5000/a/b:1' }, ['example.test:5000/a/b:1'], undefined],
      [{ [ref]: 'no valid tag!' }, [], undefined],
    ];
    for (const [annotations, names, tag] of cases) {
      await writeFile(
        join(dir, 'index.json'),
        JSON.stringify({ schemaVersion: 2, manifests: [{ ...image.root, annotations }] }),
      );
      const archive = await openArchive(dir);
      const [found] = await imagesOf(archive);
      assert.deepEqual([found?.names, found?.tag], [names, tag]);
      for (const descriptor of (await manifestOf(archive, image.root)).layers)
        await contentOf(archive, descriptor);
    }
  });

  test('content that does not match its digest is reported', async (t) => {
    const image = program('linux/amd64', 'one');
    const members = (alter: (content: Buffer) => Buffer): TarMember[] =>
      layoutMembers([{ name: 'a/b:1', image }]).map((member) =>
        member.name.endsWith(image.root.digest.slice(7))
          ? { ...member, content: alter(Buffer.from(member.content ?? '')) }
          : member,
      );
    const path = `blobs/sha256/${image.root.digest.slice(7)}`;
    await assertFails(
      (async () =>
        imagesOf(
          await opened(
            t,
            members((content) => Buffer.from(content.toString().replace('2', '3'))),
          ),
        ))(),
      'digest-mismatch',
      new RegExp(`^read ${path} in x\\.tar: digest mismatch; got sha256:\\w+, want ${image.root.digest}$`),
    );
    await assertFails(
      (async () =>
        imagesOf(
          await opened(
            t,
            members((content) => content.subarray(1)),
          ),
        ))(),
      'size-mismatch',
      `read ${path} in x.tar: size mismatch; got ${image.root.size - 1} bytes, want ${image.root.size}`,
    );
  });

  test('docker ≥ 25 with containerd’s store: upstream manifests, and images that index.json lacks', async (t) => {
    const gzipped = imageOf({
      platform: 'linux/amd64',
      layers: [layer([{ name: 'bin/app', content: elfFile('linux/amd64'), mode: 0o755 }])],
    });
    const forgotten = program('linux/amd64', 'two');
    const layout = layoutMembers([{ name: 'docker.io/library/a:1', image: gzipped }]);
    const rest = saved('docker-25', [{ tags: [], image: forgotten }]).filter(({ name }) =>
      name.startsWith('blobs/sha256/'),
    );
    const configOfImage = (image: TestImage): string => [...image.blobs.keys()][0]?.replace(':', '/') ?? '';
    const manifest = [gzipped, forgotten].map((image) => {
      const layers = [...image.blobs.keys()].slice(1).map((digest) => `blobs/${digest.replace(':', '/')}`);
      return {
        Config: `blobs/${configOfImage(image)}`,
        RepoTags: image === gzipped ? ['a:1'] : null,
        Layers: layers,
      };
    });
    const members = [
      ...layout,
      ...rest.filter(({ name }) => name !== 'blobs/sha256/'),
      { name: 'manifest.json', content: JSON.stringify(manifest) },
    ];
    const archive = await opened(t, members);
    assert.equal(archive.shape, 'oci-layout');
    const found = await imagesOf(archive);
    assert.deepEqual(
      found.map(({ names }) => names),
      [['docker.io/library/a:1'], []],
    );
    assert.equal(found[0]?.root.digest, gzipped.root.digest);
    for (const { root } of found)
      for (const descriptor of (await manifestOf(archive, root)).layers) await contentOf(archive, descriptor);
  });
});
