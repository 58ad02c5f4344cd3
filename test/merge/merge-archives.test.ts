import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import type { Archive } from '../../src/archive/read/archive.js';
import { openArchive, type OpenOptions } from '../../src/archive/read/open.js';
import { isAirliftError } from '../../src/errors.js';
import {
  mergeArchives,
  type Merged,
  type MergedImage,
  type MergeOptions,
} from '../../src/merge/merge-archives.js';
import { formatPlatform, parsePlatform } from '../../src/oci/platform.js';
import { formatReference } from '../../src/oci/reference.js';
import { attestationOf } from '../support/artifacts.js';
import { elfFile } from '../support/elf.js';
import {
  imageOf,
  indexOf,
  layer,
  plainBlob,
  type DescriptorJson,
  type Flavour,
  type ImageOptions,
  type TestImage,
} from '../support/images.js';
import { contentOf, manifestOf } from '../support/read-source.js';
import { layoutMembers, savedMembers, savedShapes } from '../support/saved.js';
import { tarOf, type TarMember } from '../support/tar.js';
import { temp } from '../support/temp.js';

const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'];
const short = (platform: string): string => platform.split('/')[1] ?? '';

/** Returns an image for one platform; `program` is the platform of its executable, if that differs from the config. */
function app(
  platform: string,
  name = 'app',
  options: Partial<ImageOptions> & { program?: string; compression?: 'none' | 'gzip' } = {},
): TestImage {
  const { program = platform, compression = 'none', flavour = 'oci' as Flavour, ...rest } = options;
  const members: TarMember[] = [{ name: 'bin/app', content: elfFile(program, name), mode: 0o755 }];
  return imageOf({ platform, flavour, layers: [layer(members, { flavour, compression })], ...rest });
}

type Input = readonly [file: string, members: readonly TarMember[], options?: OpenOptions];

interface Result extends Merged {
  readonly warnings: readonly string[];
}

async function merge(t: TestContext, inputs: readonly Input[], options: MergeOptions = {}): Promise<Result> {
  const dir = temp(t);
  const warnings: string[] = [];
  const archives: Archive[] = [];
  t.after(() => Promise.all(archives.map((archive) => archive.close())).then(() => undefined));
  for (const [file, members, open] of inputs) {
    await writeFile(join(dir, file), tarOf(members));
    archives.push(await openArchive(join(dir, file), open));
  }
  const warn = (text: string): unknown => warnings.push(text.replaceAll(`${dir}/`, ''));
  return { ...(await mergeArchives(archives, { warn, ...options })), warnings };
}

/** Returns the only image, after reading and checking all its content. */
async function only({
  images,
  source,
}: Merged): Promise<
  MergedImage & { readonly manifests: readonly DescriptorJson[] | undefined; readonly annotations: unknown }
> {
  const [image] = images;
  assert.equal(images.length, 1);
  assert.ok(image !== undefined);
  const { manifests, annotations } = await manifestOf(source, image.root);
  for (const child of manifests ?? [image.root]) {
    const manifest = await manifestOf(source, child);
    for (const blob of [manifest.config, ...manifest.layers]) await contentOf(source, blob);
  }
  return { ...image, manifests, annotations };
}

const platformsOf = (manifests: readonly DescriptorJson[] | undefined): (string | undefined)[] =>
  (manifests ?? []).map(({ platform }) =>
    platform === undefined
      ? undefined
      : [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/'),
  );

const digestsOf = (items: readonly { root: { digest: string } }[]): string[] =>
  items.map(({ root }) => root.digest).sort();

async function assertFails(
  merging: Promise<unknown>,
  code: string,
  message: RegExp,
  hint?: RegExp,
): Promise<void> {
  await assert.rejects(merging, (error) => {
    assert.ok(isAirliftError(error), String(error));
    assert.match(error.message.replaceAll(/\/\S+\/([a-z0-9-]+\.tar)/g, '$1'), message);
    assert.equal(error.code, code);
    if (hint !== undefined) assert.match(error.hint ?? '', hint);
    return true;
  });
}

/** Returns all orders of three inputs. */
function orders<T>([a, b, c]: readonly [T, T, T]): T[][] {
  return [
    [a, b, c],
    [a, c, b],
    [b, a, c],
    [b, c, a],
    [c, a, b],
    [c, b, a],
  ];
}

suite('merging archives that have one image each', () => {
  for (const shape of savedShapes) {
    test(`${shape}: three platforms become one index, whatever the order`, async (t) => {
      const inputs = platforms.map((platform): Input => [
        `images-${short(platform)}.tar`,
        savedMembers(shape, [{ tags: ['rancher/app:1'], image: app(platform) }]),
      ]);
      const digests = new Set<string>();
      for (const order of orders(inputs as [Input, Input, Input])) {
        const merged = await merge(t, order);
        const { root, manifests, reference, children, original } = await only(merged);
        digests.add(root.digest);
        assert.equal(formatReference(reference), 'docker.io/rancher/app:1');
        assert.equal(root.mediaType, 'application/vnd.oci.image.index.v1+json');
        assert.deepEqual(platformsOf(manifests), ['linux/amd64', 'linux/arm/v7', 'linux/arm64']);
        assert.deepEqual(
          children.map(({ platform }) => formatPlatform(platform)).sort(),
          [...platforms].sort(),
        );
        assert.equal(original, undefined);
        assert.deepEqual(merged.warnings, []);
      }
      assert.equal(digests.size, 1);
    });
  }

  test('Docker manifests become a Docker manifest list', async (t) => {
    const inputs = platforms.map((platform): Input => [
      `${short(platform)}.tar`,
      savedMembers('podman', [{ tags: ['a:1'], image: app(platform) }]),
      { manifestFormat: 'docker' },
    ]);
    const { root } = await only(await merge(t, inputs));
    assert.equal(root.mediaType, 'application/vnd.docker.distribution.manifest.list.v2+json');
  });

  test('a single one stays a manifest; the same one twice too', async (t) => {
    const image = app('linux/amd64', 'app', { compression: 'gzip' });
    const members = layoutMembers([{ name: 'docker.io/library/a:1', image }]);
    for (const inputs of [
      [['a.tar', members]],
      [
        ['a.tar', members],
        ['b.tar', members],
      ],
    ] as Input[][]) {
      const { root } = await only(await merge(t, inputs));
      assert.equal(root.digest, image.root.digest);
    }
  });

  test('one and the same image, once with its publisher’s manifest and once without any, is one child', async (t) => {
    const image = app('linux/amd64', 'app', { compression: 'gzip' });
    const plain = app('linux/amd64', 'app');
    const name = 'docker.io/library/a:1';
    assert.equal([...image.blobs.keys()][0], [...plain.blobs.keys()][0], 'the configs are the same');
    const inputs: [Input, Input, Input] = [
      ['a.tar', layoutMembers([{ name, image }])],
      ['b.tar', savedMembers('docker-20', [{ tags: ['a:1'], image: plain }])],
      ['c.tar', savedMembers('docker-20', [{ tags: ['a:1'], image: app('linux/arm64') }])],
    ];
    for (const order of orders(inputs)) {
      const { manifests } = await only(await merge(t, order));
      assert.deepEqual(platformsOf(manifests), ['linux/amd64', 'linux/arm64']);
      assert.equal(manifests?.[0]?.digest, image.root.digest);
    }
  });

  test('two different images for one platform are refused, both files named', async (t) => {
    const inputs: Input[] = ['one', 'two'].map((name) => [
      `${name}.tar`,
      savedMembers('docker-20', [{ tags: ['rancher/app:1'], image: app('linux/arm64', name) }]),
    ]);
    await assertFails(
      merge(t, inputs),
      'conflict',
      /^merge rancher\/app:1: two different images for linux\/arm64; got sha256:\w+ of (one|two)\.tar and sha256:\w+ of (one|two)\.tar$/,
      /`archives\.platforms`/,
    );
    const [one, two] = inputs as [Input, Input];
    const apart = await merge(t, [one, [two[0], two[1], { platform: parsePlatform('linux/arm/v6') }]]);
    const { manifests } = await only(apart);
    assert.deepEqual(platformsOf(manifests), ['linux/arm/v6', 'linux/arm64']);
    assert.deepEqual(apart.warnings, [
      'rancher/app:1 in two.tar: `archives.platforms` says linux/arm/v6, config says linux/arm64, executables are arm64; published as linux/arm/v6',
    ]);
  });

  test('variants of arm stay apart', async (t) => {
    const variants = ['linux/arm/v5', 'linux/arm/v6', 'linux/arm/v7', 'linux/arm64'];
    const inputs = variants.map((platform, at): Input => [
      `${at}.tar`,
      savedMembers('docker-20', [{ tags: ['a:1'], image: app(platform) }]),
    ]);
    assert.deepEqual(platformsOf((await only(await merge(t, inputs))).manifests), variants);
  });

  test('a config that lies is published as what it is, and reported', async (t) => {
    const inputs: Input[] = platforms.map((platform) => [
      `k3s-airgap-images-${short(platform)}.tar`,
      savedMembers('docker-20', [
        {
          tags: ['rancher/pause:3.1', 'rancher/also:3.1'],
          image: app(platform === 'linux/arm/v7' ? 'linux/amd64' : platform, platform, { program: platform }),
        },
      ]),
    ]);
    const merged = await merge(t, inputs);
    for (const { root } of merged.images)
      assert.deepEqual(platformsOf((await manifestOf(merged.source, root)).manifests), [
        'linux/amd64',
        'linux/arm/v7',
        'linux/arm64',
      ]);
    assert.deepEqual(merged.warnings, [
      'rancher/also:3.1 in k3s-airgap-images-arm.tar: config says linux/amd64, executables are arm; published as linux/arm/v7',
    ]);
    await assertFails(
      merge(t, inputs, { strictPlatforms: true }),
      'conflict',
      /^merge rancher\/also:3\.1 in k3s-airgap-images-arm\.tar: config says linux\/amd64, executables are arm$/,
      /`archives\.platforms` .*-arm\.tar=linux\/arm\/v7/,
    );
  });

  test('a single image with a false config gets an index with the right platform', async (t) => {
    const image = app('linux/amd64', 'app', { program: 'linux/arm64' });
    const { root, manifests } = await only(
      await merge(t, [['a.tar', savedMembers('podman', [{ tags: ['a:1'], image }])]]),
    );
    assert.equal(root.mediaType, 'application/vnd.oci.image.index.v1+json');
    assert.deepEqual(platformsOf(manifests), ['linux/arm64']);
  });

  test('names: given, from a tag, or missing', async (t) => {
    const nameless: Input = ['a.tar', savedMembers('docker-20', [{ tags: [], image: app('linux/amd64') }])];
    await assertFails(
      merge(t, [nameless]),
      'usage',
      /^merge a\.tar: the archive holds an image without a name$/,
      /`archives\.name`/,
    );
    const names = async (inputs: Input[], name: string): Promise<string[]> =>
      (await merge(t, inputs, { name })).images.map(({ reference }) => formatReference(reference));
    assert.deepEqual(await names([nameless], 'team/app:1.0'), ['docker.io/team/app:1.0']);
    const tagged = layoutMembers([{ name: undefined, image: app('linux/amd64') }]).map((member) =>
      member.name === 'index.json'
        ? {
            ...member,
            content: String(member.content).replace(
              '"size"',
              '"annotations":{"org.opencontainers.image.ref.name":"7.3"},"size"',
            ),
          }
        : member,
    );
    assert.deepEqual(await names([['a.tar', tagged]], 'team/app'), ['docker.io/team/app:7.3']);
    assert.deepEqual(await names([['a.tar', tagged]], 'team/app:1'), ['docker.io/team/app:1']);
    const second: Input = [
      'b.tar',
      savedMembers('crane', [{ tags: ['x/y:i-was-a-digest'], image: app('linux/arm64') }]),
    ];
    const { manifests } = await only(await merge(t, [nameless, second], { name: 'team/app:1.0' }));
    assert.deepEqual(platformsOf(manifests), ['linux/amd64', 'linux/arm64']);
  });

  test('an image without a platform cannot be merged, but can be published alone', async (t) => {
    const chart = (content: string): TestImage =>
      imageOf({
        layers: [plainBlob(content, 'application/vnd.cncf.helm.chart.content.v1.tar+gzip')],
        config: {},
        platform: { os: '', architecture: '' },
        artifactType: 'application/x',
      });
    const asChart = (image: TestImage): TarMember[] =>
      layoutMembers([{ name: 'example.test/chart:1', image }]);
    const { root } = await only(await merge(t, [['a.tar', asChart(chart('one'))]]));
    assert.equal(root.digest, chart('one').root.digest);
    await assertFails(
      merge(t, [
        ['a.tar', asChart(chart('one'))],
        ['b.tar', asChart(chart('two'))],
      ]),
      'conflict',
      /^merge example\.test\/chart:1: sha256:\w{64} is not a runnable image and cannot share its name; got sha256:\w{64} of [ab]\.tar and sha256:\w{64} of [ab]\.tar, want one of them$/,
      /^omit one of the files, or import \S+ separately with `rules`$/,
    );
  });
});

suite('merging archives that have parts of one index', () => {
  const annotations = { 'org.opencontainers.image.source': 'https://example.test/app' };
  const children = platforms.map((platform) => app(platform, 'app', { compression: 'gzip' }));
  const index = indexOf({ children, annotations });
  const name = 'docker.io/library/app:1';

  /** Returns an archive with the index and only these children, as `ctr images export --platform` writes it. */
  function part(which: readonly TestImage[], of = index, extra: readonly TestImage[] = []): TarMember[] {
    const included = new Set<string>([of.root.digest]);
    for (const image of [...which, ...extra])
      for (const digest of [...image.blobs.keys(), ...image.manifests.keys()]) included.add(digest);
    return layoutMembers([{ name, image: of }], (digest) => included.has(digest));
  }

  test('complete in the union: published byte for byte', async (t) => {
    const inputs = children.map((child, at): Input => [`${short(platforms[at] ?? '')}.tar`, part([child])]);
    for (const order of orders(inputs as [Input, Input, Input])) {
      const merged = await merge(t, order);
      const { root, original, children: found } = await only(merged);
      assert.equal(root.digest, index.root.digest);
      assert.equal(original, undefined);
      assert.deepEqual(found.map(({ platform }) => formatPlatform(platform)).sort(), [...platforms].sort());
      assert.deepEqual(merged.warnings, []);
    }
  });

  test('incomplete: filtered, annotations kept, the original beside it', async (t) => {
    const inputs: Input[] = [
      ['a.tar', part(children.slice(0, 1))],
      ['b.tar', part(children.slice(2))],
    ];
    const merged = await merge(t, inputs);
    const { root, manifests, original, annotations: kept } = await only(merged);
    assert.notEqual(root.digest, index.root.digest);
    assert.equal(original?.digest, index.root.digest);
    assert.equal((await contentOf(merged.source, index.root)).length, index.root.size);
    assert.deepEqual(platformsOf(manifests), ['linux/amd64', 'linux/arm/v7']);
    assert.deepEqual(kept, annotations);
    const again = await only(await merge(t, inputs.toReversed()));
    assert.equal(again.root.digest, root.digest);
  });

  test('with a single image of another archive: that is added', async (t) => {
    const s390x = app('linux/s390x');
    const saved = savedMembers('docker-20', [{ tags: ['app:1'], image: s390x }]);
    const whole = await only(
      await merge(t, [
        ['a.tar', part(children)],
        ['b.tar', saved],
      ]),
    );
    assert.deepEqual(platformsOf(whole.manifests), [
      'linux/amd64',
      'linux/arm64',
      'linux/arm/v7',
      'linux/s390x',
    ]);
    assert.deepEqual(whole.annotations, annotations);
    assert.equal(whole.original, undefined);
    const some = await only(
      await merge(t, [
        ['a.tar', part(children.slice(1))],
        ['b.tar', saved],
      ]),
    );
    assert.deepEqual(platformsOf(some.manifests), ['linux/arm64', 'linux/arm/v7', 'linux/s390x']);
  });

  test('with an image that it already contains: still byte for byte', async (t) => {
    const saved = savedMembers('docker-20', [{ tags: ['app:1'], image: app('linux/arm64') }]);
    const { root } = await only(
      await merge(t, [
        ['a.tar', part(children)],
        ['b.tar', saved],
      ]),
    );
    assert.equal(root.digest, index.root.digest);
  });

  test('different indexes are joined; the same platform twice is refused', async (t) => {
    const [amd64, arm64, arm] = children as [TestImage, TestImage, TestImage];
    const one = indexOf({ children: [amd64, arm64], annotations });
    const two = indexOf({ children: [arm] });
    for (const order of [
      [one, two],
      [two, one],
    ]) {
      const inputs = order.map((image, at): Input => [`${at}.tar`, layoutMembers([{ name, image }])]);
      const joined = await only(await merge(t, inputs));
      assert.deepEqual(platformsOf(joined.manifests), ['linux/amd64', 'linux/arm64', 'linux/arm/v7']);
      assert.deepEqual(joined.annotations, annotations);
    }
    const three = indexOf({ children: [app('linux/arm64', 'other', { compression: 'gzip' })] });
    const inputs = [one, three].map((image, at): Input => [`${at}.tar`, layoutMembers([{ name, image }])]);
    await assertFails(
      merge(t, inputs),
      'conflict',
      /^merge app:1: two different images for linux\/arm64; got/,
    );
  });

  test('attestations go with the image they describe', async (t) => {
    const [amd64, arm64] = children as [TestImage, TestImage];
    const attested = indexOf({ children: [amd64, arm64, attestationOf(amd64), attestationOf(arm64)] });
    const own = attestationOf(arm64).image;
    const alone = await only(await merge(t, [['a.tar', part([arm64], attested, [own])]]));
    assert.deepEqual(platformsOf(alone.manifests), ['linux/arm64', 'unknown/unknown']);
    assert.equal(alone.manifests?.[1]?.annotations?.['vnd.docker.reference.digest'], arm64.root.digest);
    const orphan = await only(await merge(t, [['a.tar', part([amd64], attested, [own])]]));
    assert.deepEqual(platformsOf(orphan.manifests), ['linux/amd64']);
    const saved = savedMembers('docker-20', [{ tags: ['app:1'], image: app('linux/s390x') }]);
    const joined = await only(
      await merge(t, [
        ['a.tar', part([arm64], attested, [own])],
        ['b.tar', saved],
      ]),
    );
    assert.deepEqual(platformsOf(joined.manifests), ['linux/arm64', 'unknown/unknown', 'linux/s390x']);
    assert.equal(joined.children.length, 2);
    const whole = await only(
      await merge(t, [
        ['a.tar', part([amd64], attested, [attestationOf(amd64).image])],
        ['b.tar', part([arm64], attested, [own])],
      ]),
    );
    assert.equal(whole.root.digest, attested.root.digest);
  });

  test('every field of a child is kept, and one digest for two platforms', async (t) => {
    const [amd64, arm64, arm] = children as [TestImage, TestImage, TestImage];
    const brew = indexOf({
      children: [
        {
          image: amd64,
          platform: { os: 'darwin', architecture: 'amd64', 'os.version': 'macOS 14' },
          annotations: { x: '1' },
        },
        { image: arm, platform: 'linux/arm/v6' },
        { image: arm, platform: 'linux/arm/v7' },
        arm64,
      ],
    });
    const { manifests } = await only(await merge(t, [['a.tar', part([amd64, arm], brew)]]));
    const wanted = (
      await manifestOf((await merge(t, [['b.tar', part([amd64, arm64, arm], brew)]])).source, brew.root)
    ).manifests;
    assert.deepEqual(manifests, wanted?.slice(0, 3));
  });

  test('nested indexes stay as they are where they are complete, and are flattened where not', async (t) => {
    const [amd64, arm64, arm] = children as [TestImage, TestImage, TestImage];
    const inner = indexOf({ children: [arm64, arm] });
    const nested = indexOf({ children: [amd64, { image: inner, platform: null }] });
    const whole: Input[] = [
      ['a.tar', part([amd64, arm64], nested, [])],
      ['b.tar', part([arm], nested, [])],
    ];
    const withInner = whole.map(([file, members]): Input => [
      file,
      [
        ...members,
        {
          name: `blobs/sha256/${inner.root.digest.slice(7)}`,
          content: Buffer.concat([...(inner.manifests.get(inner.root.digest)?.open() ?? [])]),
        },
      ],
    ]);
    const merged = await merge(t, withInner);
    assert.equal(merged.images[0]?.root.digest, nested.root.digest);
    const [first] = withInner as [Input];
    const { manifests, original } = await only(await merge(t, [first]));
    assert.deepEqual(platformsOf(manifests), ['linux/amd64', 'linux/arm64']);
    assert.equal(original?.digest, nested.root.digest);
  });

  test('an index entry that lies stays as it is where the index is whole, and is put right where not', async (t) => {
    const liar = app('linux/amd64', 'app', { program: 'linux/arm/v7', compression: 'gzip' });
    const [, arm64] = children as [TestImage, TestImage];
    const lying = indexOf({ children: [liar, arm64] });
    const whole = await merge(t, [['a.tar', part([liar, arm64], lying)]]);
    assert.equal((await only(whole)).root.digest, lying.root.digest);
    assert.deepEqual(whole.warnings, [
      'app:1 in a.tar: index entry says linux/amd64, config says linux/amd64, executables are arm; published as linux/amd64',
    ]);
    const some = await merge(t, [['a.tar', part([liar], lying)]]);
    assert.deepEqual(platformsOf((await only(some)).manifests), ['linux/arm/v7']);
    assert.match(some.warnings[0] ?? '', /executables are arm; published as linux\/arm\/v7$/);
    const forced = await merge(t, [
      ['a.tar', part([arm64], indexOf({ children: [arm64] })), { platform: parsePlatform('linux/s390x') }],
    ]);
    assert.deepEqual(platformsOf((await only(forced)).manifests), ['linux/s390x']);
  });

  test('all images of an archive come out, each under each of its names', async (t) => {
    const images = ['a', 'b', 'c'].map((repository) => ({
      name: `docker.io/x/${repository}:1`,
      image: app('linux/amd64', repository),
    }));
    const twice = [...images, { name: 'docker.io/x/again:1', image: images[0]?.image ?? index }];
    const merged = await merge(t, [['a.tar', layoutMembers(twice)]]);
    assert.deepEqual(
      merged.images.map(({ reference }) => reference.repository),
      ['x/a', 'x/again', 'x/b', 'x/c'],
    );
    assert.deepEqual(digestsOf(merged.images), digestsOf(twice.map(({ image }) => image)));
    for (const { reference, root } of merged.images)
      assert.equal((await merged.source.resolve(reference)).digest, root.digest);
  });
});
