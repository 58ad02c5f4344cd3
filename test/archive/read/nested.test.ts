import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { ArchiveImage } from '../../../src/archive/read/archive.js';
import { openArchive } from '../../../src/archive/read/open.js';
import { isAirliftError } from '../../../src/errors.js';
import { parseReference } from '../../../src/oci/reference.js';
import { airlift, airliftPath, stateEnv } from '../../support/airlift.js';
import { artifactOf, cosignOf } from '../../support/artifacts.js';
import { bytesOf } from '../../support/content.js';
import { elfFile } from '../../support/elf.js';
import {
  assemble,
  imageOf,
  indexOf,
  layer,
  type DescriptorJson,
  type TestImage,
} from '../../support/images.js';
import { needs, run } from '../../support/peers.js';
import { contentOf, manifestOf } from '../../support/read-source.js';
import { layoutMembers, savedMembers } from '../../support/saved.js';
import { serveStore } from '../../support/serve-store.js';
import { tarOf, type TarMember } from '../../support/tar.js';
import { temp } from '../../support/temp.js';

function app(platform: string): TestImage {
  const program = { name: 'bin/app', content: elfFile(platform, platform), mode: 0o755 };
  return imageOf({ platform, layers: [layer([program], { compression: 'gzip' })] });
}

const index = indexOf({ children: [{ image: app('linux/amd64') }, { image: app('linux/arm64') }] });
const single = app('linux/arm64');
const sig = cosignOf(index, 'sig');
const hex = (digest: string): string => digest.slice(digest.indexOf(':') + 1);

async function written(t: TestContext, members: readonly TarMember[], isDirectory: boolean): Promise<string> {
  const dir = temp(t);
  if (!isDirectory) {
    await writeFile(join(dir, 'x.tar'), tarOf(members));
    return join(dir, 'x.tar');
  }
  for (const { name, content = '' } of members) {
    await mkdir(join(dir, 'x', dirname(name)), { recursive: true });
    await writeFile(join(dir, 'x', name), content);
  }
  return join(dir, 'x');
}

interface Read {
  readonly names: Record<string, string>;
  readonly images: readonly ArchiveImage[];
  readonly warnings: readonly string[];
}

/** Returns the images of an archive by name, after reading and verifying all their content. */
async function read(t: TestContext, path: string): Promise<Read> {
  const warnings: string[] = [];
  const archive = await openArchive(path, { warn: (text) => warnings.push(text) });
  t.after(() => archive.close());
  const names: Record<string, string> = {};
  const images: ArchiveImage[] = [];
  for await (const image of archive.images()) {
    images.push(image);
    names[image.names.join(' ')] = image.root.digest;
    for (const { descriptor } of image.children) {
      const manifest = await manifestOf(archive, descriptor);
      for (const blob of [manifest.config, ...manifest.layers]) await contentOf(archive, blob);
    }
  }
  return { names, images, warnings };
}

async function refused(t: TestContext, path: string, message: RegExp, hint: string | RegExp): Promise<void> {
  await assert.rejects(read(t, path), (error) => {
    assert.ok(isAirliftError(error), String(error));
    assert.match(error.message, message);
    if (typeof hint === 'string') assert.equal(error.hint, hint);
    else assert.match(error.hint ?? '', hint);
    return true;
  });
}

const below = (folder: string, members: readonly TarMember[]): TarMember[] =>
  members.map((member) => ({ ...member, name: `${folder}/${member.name}` }));

/** Returns the members of a directory that skopeo's `dir:` transport writes. */
function skopeoMembers(image: TestImage): TarMember[] {
  const members: TarMember[] = [{ name: 'version', content: 'Directory Transport Version: 1.1\n' }];
  for (const content of image.manifests.values()) {
    const name =
      content.digest === image.root.digest ? 'manifest.json' : `${hex(content.digest)}.manifest.json`;
    members.push({ name, content: bytesOf(content) });
  }
  for (const content of image.blobs.values())
    members.push({ name: hex(content.digest), content: bytesOf(content) });
  return members;
}

/** Returns the members of a docker-registry's storage. */
function storedMembers(
  tags: Readonly<Record<string, TestImage>>,
  untagged: readonly TestImage[] = [],
): TarMember[] {
  const members = new Map<string, TarMember>();
  const add = (name: string, content: string | Buffer): unknown => members.set(name, { name, content });
  const revision = (repository: string, image: TestImage): void => {
    for (const content of [...image.blobs.values(), ...image.manifests.values()])
      add(
        `docker/registry/v2/blobs/sha256/${hex(content.digest).slice(0, 2)}/${hex(content.digest)}/data`,
        bytesOf(content),
      );
    for (const { digest } of image.manifests.values())
      add(
        `docker/registry/v2/repositories/${repository}/_manifests/revisions/sha256/${hex(digest)}/link`,
        digest,
      );
  };
  for (const [name, image] of Object.entries(tags)) {
    const [repository = '', tag = ''] = name.split(':');
    revision(repository, image);
    add(
      `docker/registry/v2/repositories/${repository}/_manifests/tags/${tag}/current/link`,
      image.root.digest,
    );
    add(`docker/registry/v2/repositories/${repository}/_layers/sha256/${'0'.repeat(64)}/link`, 'x');
  }
  for (const image of untagged) revision('team/app', image);
  return [...members.values()];
}

const text = (image: TestImage, digest: string): string => {
  const content = [...image.manifests.values(), ...image.blobs.values()].find((one) => one.digest === digest);
  assert.ok(content !== undefined);
  return bytesOf(content).toString();
};

/** Returns an image's entry in the `manifest.json` of `imgpkg copy --to-tar`. */
function imgpkgImage(image: TestImage, refs: string[], tag?: string): Record<string, unknown> {
  const raw = text(image, image.root.digest);
  const { config, layers } = JSON.parse(raw) as { config: DescriptorJson; layers: DescriptorJson[] };
  return {
    Refs: refs,
    Layers: layers.map(({ mediaType, digest, size }) => ({
      MediaType: mediaType,
      Digest: digest,
      Size: size,
    })),
    Config: { Digest: config.digest, Raw: text(image, config.digest) },
    Manifest: { MediaType: image.root.mediaType, Digest: image.root.digest, Raw: raw },
    Tag: tag,
  };
}

suite('images below the root of an archive', { timeout: 120_000 }, () => {
  for (const isDirectory of [false, true]) {
    const where = isDirectory ? 'a directory' : 'a tar';
    const name = 'docker.io/team/app:1';

    test(`${where}: an OCI layout in a folder`, async (t) => {
      const members = below('some/folder', layoutMembers([{ name, image: index }]));
      const { names } = await read(
        t,
        await written(t, [{ name: 'README', content: 'x' }, ...members], isDirectory),
      );
      assert.deepEqual(names, { [name]: index.root.digest });
    });

    test(`${where}: a docker-archive in a folder`, async (t) => {
      const plain = imageOf({
        platform: 'linux/arm64',
        layers: [layer([{ name: 'f', content: 'x' }], { compression: 'none' })],
      });
      const members = savedMembers('crane', [{ tags: ['team/app:1'], image: plain }]);
      const { names } = await read(t, await written(t, below('images', members), isDirectory));
      assert.deepEqual(Object.keys(names), [name]);
    });

    test(`${where}: a zarf package, its names in either annotation`, async (t) => {
      const layout = layoutMembers([
        {
          name: undefined,
          image: index,
          annotations: { 'org.opencontainers.image.base.name': 'docker.io/team/old:1' },
        },
        {
          name: undefined,
          image: single,
          annotations: {
            'org.opencontainers.image.base.name': 'docker.io/team/new:1',
            'org.opencontainers.image.ref.name': 'docker.io/team/new:1',
          },
        },
      ]);
      const path = await written(
        t,
        [
          { name: 'zarf.yaml', content: 'kind: ZarfPackageConfig' },
          { name: 'checksums.txt', content: '' },
          { name: 'components/base.tar', content: tarOf([]) },
          ...below('images', layout),
        ],
        isDirectory,
      );
      const { names } = await read(t, path);
      assert.deepEqual(names, {
        'docker.io/team/old:1': index.root.digest,
        'docker.io/team/new:1': single.root.digest,
      });
    });

    test(`${where}: outside of zarf packages the annotation for the base image is not a name`, async (t) => {
      const annotations = { 'org.opencontainers.image.base.name': 'docker.io/library/alpine:3' };
      const members = below('images', layoutMembers([{ name: undefined, image: index, annotations }]));
      const { names } = await read(t, await written(t, members, isDirectory));
      assert.deepEqual(names, { '': index.root.digest });
    });

    test(`${where}: a folder of skopeo’s dir: transport`, async (t) => {
      const { names } = await read(t, await written(t, skopeoMembers(index), isDirectory));
      assert.deepEqual(names, { '': index.root.digest });
    });

    test(`${where}: a tree of skopeo sync, plain and scoped`, async (t) => {
      const digest = `team/app@${single.root.digest}`;
      const members = [
        ...below('app:1', skopeoMembers(index)),
        ...below('usb/registry.example:5000/team/app:2', skopeoMembers(single)),
        ...below(`usb/localhost/${digest}`, skopeoMembers(single)),
        ...below(`usb/quay.io/team/app:${sig.tag}`, skopeoMembers(sig.image)),
      ];
      const { names, images } = await read(t, await written(t, members, isDirectory));
      assert.deepEqual(names, {
        'docker.io/library/app:1': index.root.digest,
        [`localhost/${digest} registry.example:5000/team/app:2`]: single.root.digest,
        [`quay.io/team/app:${sig.tag}`]: sig.image.root.digest,
      });
      assert.ok(images.some(({ companionOf }) => companionOf === index.root.digest));
    });

    test(`${where}: the storage of a registry, as oc-mirror packs it`, async (t) => {
      const referrer = artifactOf({ artifactType: 'application/vnd.example', subject: index.root });
      const list = indexOf({ children: [{ image: referrer, platform: null }] });
      // A manifest of Docker schema 1 that nothing refers to.
      const old = assemble(
        { schemaVersion: 1, mediaType: 'application/vnd.docker.distribution.manifest.v1+json' },
        {},
      );
      const pinned = `sha256-${hex(single.root.digest)}`;
      const members = [
        ...storedMembers(
          {
            'team/app:1': index,
            [`team/app:${pinned}`]: single,
            [`team/app:sha256-${hex(index.root.digest)}`]: list,
            [`team/app:${sig.tag}`]: sig.image,
          },
          [referrer, old],
        ),
        ...below('working-dir/operator', layoutMembers([{ name: undefined, image: app('linux/amd64') }])),
      ];
      const path = await written(t, members, isDirectory);
      const { names } = await read(t, path);
      assert.deepEqual(names, {
        'docker.io/team/app:1': index.root.digest,
        [`docker.io/team/app:${pinned}`]: single.root.digest,
        [`docker.io/team/app:${sig.tag}`]: sig.image.root.digest,
      });
      const archive = await openArchive(path);
      t.after(() => archive.close());
      const found = [];
      for await (const { digest } of archive.referrers(parseReference('team/app:1'), index.root.digest))
        found.push(digest);
      assert.deepEqual(found, [referrer.root.digest]);
    });

    test(`${where}: content that only an earlier oc-mirror archive holds is reported`, async (t) => {
      const lost = hex([...single.blobs.keys()].at(-1) ?? '');
      const members = storedMembers({ 'team/app:1': single }).filter((member) => !member.name.includes(lost));
      await refused(
        t,
        await written(t, members, isDirectory),
        /no manifest below it is complete/,
        /oc-mirror --v2 --from file:\/\/FOLDER docker:\/\/SITE$/,
      );
    });

    test(`${where}: imgpkg copy --to-tar`, async (t) => {
      const children = [app('linux/amd64'), app('linux/arm64')];
      const list = [
        {
          ImageIndex: {
            Refs: [`index.docker.io/team/app@${index.root.digest}`],
            Images: children.map((child) =>
              imgpkgImage(child, [`index.docker.io/team/app@${child.root.digest}`]),
            ),
            MediaType: index.root.mediaType,
            Digest: index.root.digest,
            Raw: text(index, index.root.digest),
            Tag: '1.0',
          },
        },
        { Image: imgpkgImage(single, [`quay.io/team/one@${single.root.digest}`]) },
      ];
      const layers = [index, single].flatMap((image) => [...image.blobs.values()]);
      const members = new Map(
        layers.map((content) => [
          content.digest,
          { name: `sha256-${hex(content.digest)}.tar.gz`, content: bytesOf(content) },
        ]),
      );
      const path = await written(
        t,
        [{ name: 'manifest.json', content: JSON.stringify(list) }, ...members.values()],
        isDirectory,
      );
      const { names } = await read(t, path);
      assert.deepEqual(names, {
        'docker.io/team/app:1.0': index.root.digest,
        [`quay.io/team/one@${single.root.digest}`]: single.root.digest,
      });
    });

    test(`${where}: archives inside are named with the command that imports them`, async (t) => {
      const inner = tarOf(layoutMembers([{ name, image: single }]));
      const one = await written(t, [{ name: "images/it's.tar.gz", content: gzipSync(inner) }], isDirectory);
      const command = isDirectory ? '' : `tar -xf ${one} && `;
      const at = isDirectory ? `${one}/` : '';
      const quoted = `'${at}images/it'\\''s.tar.gz'`;
      await refused(
        t,
        one,
        /of archives; name the archives themselves: "images\/it's\.tar\.gz"$/,
        `${command}airlift import ${quoted} --to SITE`,
      );
      const many = await written(
        t,
        ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => ({ name: `in/${letter}.tar`, content: inner })),
        isDirectory,
      );
      const many2 = isDirectory
        ? `airlift import ${many}/in/*.tar --to SITE`
        : `tar -xf ${many} && airlift import in/*.tar --to SITE`;
      await refused(t, many, /"in\/a\.tar", .* and 1 more$/, many2);
    });

    test(`${where}: archives that hold no images are not named`, async (t) => {
      const source = tarOf([{ name: 'src/main.c', content: 'int main;' }]);
      const others = [
        { name: 'images.tar', content: tarOf(savedMembers('docker-20', [])) },
        { name: 'source.tar', content: source },
        { name: 'source.tar.gz', content: gzipSync(source) },
        { name: 'text.tar', content: 'no tar' },
      ];
      const zarf = { name: 'zarf.yaml', content: 'kind: ZarfPackageConfig' };
      const path = await written(t, [zarf, ...others], isDirectory);
      await refused(
        t,
        path,
        /of archives; name the archives themselves: "images\.tar"$/,
        /airlift import \S*images\.tar --to SITE$/,
      );
      await assert.rejects(
        read(t, await written(t, others.slice(1), isDirectory)),
        (error) => isAirliftError(error, 'input') && /not an archive of images/.test(error.message),
      );
    });

    test(`${where}: several layouts are named with the command that imports them`, async (t) => {
      const members = [
        ...below('one', layoutMembers([{ name, image: single }])),
        ...below('two', layoutMembers([{ name, image: index }])),
        { name: 'three.tar', content: tarOf(layoutMembers([{ name, image: index }])) },
      ];
      const path = await written(t, members, isDirectory);
      const hint = isDirectory
        ? `airlift import ${path}/one ${path}/two ${path}/three.tar --to SITE`
        : `tar -xf ${path} && airlift import one two three.tar --to SITE`;
      await refused(t, path, /of archives; name the archives themselves: "one", "two", "three\.tar"$/, hint);
    });

    test(`${where}: a manifest.json that does not describe images does not hide images below the root`, async (t) => {
      const manifest = { name: 'manifest.json', content: '{"name":"vendor"}' };
      const layout = below('images', layoutMembers([{ name, image: single }]));
      const { names } = await read(t, await written(t, [manifest, ...layout], isDirectory));
      assert.deepEqual(names, { [name]: single.root.digest });
      await assert.rejects(
        read(t, await written(t, [manifest], isDirectory)),
        (error) =>
          isAirliftError(error, 'input') && /^parse manifest\.json in \S+: not a list$/.test(error.message),
      );
    });
  }

  test('folders that skopeo itself writes are read', { skip: needs('skopeo') }, async (t) => {
    const dir = temp(t);
    const layout = join(dir, 'layout');
    for (const { name, content = '' } of layoutMembers([{ name: undefined, image: index }])) {
      await mkdir(dirname(join(layout, name)), { recursive: true });
      await writeFile(join(layout, name), content);
    }
    const host = await serveStore(t);
    await run('skopeo', [
      'copy',
      '--all',
      '--dest-tls-verify=false',
      `oci:${layout}`,
      `docker://${host}/team/app:1`,
    ]);
    await run('skopeo', [
      'copy',
      '--all',
      '--src-tls-verify=false',
      `docker://${host}/team/app:1`,
      `dir:${dir}/copied`,
    ]);
    await run('skopeo', [
      ...['sync', '--all', '--scoped', '--src-tls-verify=false', '--src', 'docker', '--dest', 'dir'],
      ...[`${host}/team/app`, join(dir, 'synced')],
    ]);
    assert.deepEqual((await read(t, join(dir, 'copied'))).names, { '': index.root.digest });
    assert.deepEqual((await read(t, join(dir, 'synced'))).names, {
      [`${host}/team/app:1`]: index.root.digest,
    });
  });

  for (const isDirectory of [false, true]) {
    test(
      `the command in the hint imports the archives inside ${isDirectory ? 'a directory' : 'a tar'}`,
      { skip: needs('tar') },
      async (t) => {
        const inner = (name: string): Buffer => tarOf(layoutMembers([{ name, image: single }]));
        const path = await written(
          t,
          [1, 2, 3, 4, 5, 6].map((at) => ({ name: `in/app${at}.tar`, content: inner(`team/app:${at}`) })),
          isDirectory,
        );
        const host = await serveStore(t);
        const failed = await airlift(['import', path, '--to', host], { codes: [1] });
        const command = /hint: (.*)/.exec(failed.stderr)?.[1] ?? '';
        const script = command
          .replace('airlift import', `"${process.execPath}" "${airliftPath}" import`)
          .replace('SITE', host);
        const { stdout, stderr } = await run('sh', ['-c', script], { cwd: temp(t), env: stateEnv });
        assert.match(stdout + stderr, /imported 6 images/);
      },
    );
  }

  test('a part of a split archive is named with the command that joins the parts', async (t) => {
    const dir = temp(t);
    const bytes = gzipSync(tarOf(layoutMembers([{ name: 'team/app:1', image: index }])));
    const middle = bytes.length >> 1;
    for (const [name, isZarf] of [
      ['plain.tar.gz', false],
      ['zarf.tar.gz', true],
    ] as const) {
      if (isZarf) await writeFile(join(dir, `${name}.part000`), '{"count":2}');
      await writeFile(join(dir, `${name}.part001`), bytes.subarray(0, middle));
      await writeFile(join(dir, `${name}.part002`), bytes.subarray(middle));
      const host = await serveStore(t);
      for (const part of isZarf ? ['000', '001', '002'] : ['001', '002']) {
        const failed = await airlift(['import', join(dir, `${name}.part${part}`), '--to', host], {
          codes: [1, 4],
        });
        const command =
          /hint: the file is one part of several: (.*)/.exec(failed.stderr)?.[1] ?? failed.stderr;
        const script = command
          .replace('airlift import', `"${process.execPath}" "${airliftPath}" import`)
          .replace('SITE', host);
        const { stdout, stderr } = await run('sh', ['-c', script], { cwd: dir, env: stateEnv });
        assert.match(stdout + stderr, /imported 1 image/);
      }
    }
  });
});
