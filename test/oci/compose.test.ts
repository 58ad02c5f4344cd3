import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';
import { IndexDraft } from '../../src/oci/compose.js';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import {
  childOf,
  childrenOf,
  platformFields,
  platformFieldsOfConfig,
  type ExistingIndex,
  type IndexChild,
} from '../../src/oci/index-child.js';
import { parseManifest } from '../../src/oci/manifest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { attestationOf } from '../support/artifacts.js';
import { bytesOf } from '../support/content.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { imageOf, indexOf, layer, type Flavour, type TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { temp } from '../support/temp.js';

const windows = {
  os: 'windows',
  architecture: 'amd64',
  'os.version': '10.0.17763.1999',
  'os.features': ['win32k'],
};

function image(platform: string | typeof windows, flavour: Flavour = 'oci', salt = ''): TestImage {
  const files = [{ name: 'about', content: JSON.stringify([platform, salt]) }];
  return imageOf({ platform, flavour, layers: [layer(files, { flavour, compression: 'stored-gzip' })] });
}

/** The child as `index create` makes it: with the platform of its config. */
function child(from: TestImage, name = 'a'): IndexChild {
  const own = from.manifests.get(from.root.digest);
  assert.ok(own !== undefined);
  const manifest = parseManifest(bytesOf(own), own.mediaType, name);
  const config = manifest.kind === 'manifest' ? manifest.config : undefined;
  const blob = config === undefined ? undefined : from.blobs.get(config.digest);
  const platform = blob === undefined ? undefined : platformFieldsOfConfig(bytesOf(blob), name);
  return childOf(from.root, name, platform);
}

function existing(bytes: Buffer | string, from = 'old'): ExistingIndex {
  const own = Buffer.from(bytes);
  const { mediaType } = JSON.parse(own.toString()) as { mediaType?: string };
  return {
    bytes: own,
    from,
    descriptor: {
      mediaType: mediaType ?? 'application/vnd.oci.image.index.v1+json',
      digest: digestOf(own),
      size: own.length,
    },
  };
}

function rootBytes(from: TestImage): Buffer {
  const own = from.manifests.get(from.root.digest);
  assert.ok(own !== undefined);
  return bytesOf(own);
}

function fails(work: () => unknown, code: ErrorCode, message: RegExp): void {
  assert.throws(work, (error) => isAirliftError(error, code) && message.test(error.message));
}

test(
  'a new manifest list equals that of docker manifest create and annotate, byte for byte',
  { skip: needs('docker', 'docker-registry') },
  async (t) => {
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    const dir = temp(t);
    const name = `${registry.host}/team/app`;
    // Docker sorts the images by their names.
    const images = {
      '1-amd64': image('linux/amd64', 'docker'),
      '2-arm': image('linux/arm', 'docker'),
      '3-arm64': image('linux/arm64/v8', 'docker'),
      '4-windows': image(windows, 'docker'),
    };
    for (const [tag, one] of Object.entries(images)) await pushImage(registry.host, 'team/app', tag, one);
    const docker = (...args: string[]): Promise<unknown> =>
      run('docker', ['--config', dir, 'manifest', ...args], {
        env: { DOCKER_CLI_EXPERIMENTAL: 'enabled' },
      });
    await docker('create', '--insecure', `${name}:1`, ...Object.keys(images).map((tag) => `${name}:${tag}`));
    await docker('annotate', '--variant', 'v6', `${name}:1`, `${name}:2-arm`);
    await docker('push', '--insecure', `${name}:1`);
    const accept = 'application/vnd.docker.distribution.manifest.list.v2+json';
    const theirs = await askRegistry(registry.host, {
      method: 'GET',
      path: '/v2/team/app/manifests/1',
      headers: { accept },
    });
    assert.equal(theirs.status, 200);

    const draft = IndexDraft.create();
    for (const one of Object.values(images)) {
      const armv6 = platformFields(parsePlatform('linux/arm/v6'));
      draft.add(one === images['2-arm'] ? childOf(one.root, 'arm', armv6) : child(one));
    }
    assert.equal(draft.finish().bytes.toString(), theirs.body.toString());
    assert.equal(draft.finish().descriptor.mediaType, accept);
  },
);

test('a new image index equals that of oras manifest index create, byte for byte', () => {
  const draft = IndexDraft.create();
  for (const one of [image('linux/amd64'), image('linux/arm64/v8'), image(windows, 'docker')])
    draft.add(child(one));
  draft.setFields({
    annotations: { 'org.opencontainers.image.version': '1.0', 'com.example.b': 'x' },
    artifactType: 'application/vnd.example+type',
  });
  // oras 1.3.3, with these images, --artifact-type and two --annotation.
  assert.equal(
    draft.finish().descriptor.digest,
    'sha256:18a88ea1fe4a0dc0da7d9bd381d968539e22b8a0b3f2f52300538b4e357d878d',
  );
});

/** As Homebrew's index of a bottle, with a field of no specification and an indentation of its own. */
const bottles = `{
  "schemaVersion": 2,
  "x-made-by": {"tool": "brew", "n": [1, 2]},
  "manifests": [
    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "digest": "sha256:${'a'.repeat(64)}",
      "size": 1972,
      "platform": { "architecture": "arm64", "os": "darwin", "os.version": "macOS 14" },
      "annotations": { "sh.brew.tab": "{\\"arch\\":\\"arm64\\"}", "org.opencontainers.image.ref.name": "1.0.arm64_sonoma" },
      "x-bottle": true
    },
    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "digest": "sha256:${'b'.repeat(64)}",
      "size": 1972,
      "platform": { "architecture": "arm64", "os": "darwin", "os.version": "macOS 13.6", "features": ["sse4"] },
      "annotations": { "org.opencontainers.image.ref.name": "1.0.arm64_ventura" }
    }
  ],
  "annotations": { "com.github.package.type": "homebrew_bottle" }
}
`;

test('an index that nothing changes keeps its bytes', () => {
  const index = existing(bottles);
  const draft = IndexDraft.of(index);
  for (const one of childrenOf(index)) assert.equal(draft.add(one), 'present');
  draft.setFields({});
  assert.equal(draft.isChanged, false);
  assert.ok(draft.finish().bytes.equals(index.bytes));
});

test('an edit of an index keeps unknown fields, their order and the indentation', () => {
  const old = JSON.parse(bottles) as { manifests: Record<string, unknown>[] };
  const draft = IndexDraft.of(existing(bottles));
  const linux = child(image('linux/amd64'));
  assert.equal(draft.add(linux), 'added');
  draft.annotateChild(`sha256:${'b'.repeat(64)}` as Digest, { 'sh.brew.bottle.size': '99' });
  draft.setFields({ annotations: { 'org.opencontainers.image.version': '1.0' } });
  const { bytes, descriptor } = draft.finish();
  const [first, second] = old.manifests;
  const want = {
    ...old,
    manifests: [
      first,
      {
        ...second,
        annotations: {
          'org.opencontainers.image.ref.name': '1.0.arm64_ventura',
          'sh.brew.bottle.size': '99',
        },
      },
      linux.entry,
    ],
    annotations: {
      'com.github.package.type': 'homebrew_bottle',
      'org.opencontainers.image.version': '1.0',
    },
  };
  assert.equal(bytes.toString(), `${JSON.stringify(want, undefined, 2)}\n`);
  assert.deepEqual(descriptor, {
    mediaType: 'application/vnd.oci.image.index.v1+json',
    digest: digestOf(bytes),
    size: bytes.length,
  });
});

test('appending and removing a child restores the digest', () => {
  const before = IndexDraft.create();
  for (const platform of ['linux/amd64', 'linux/arm64']) before.add(child(image(platform)));
  const old = existing(before.finish().bytes);
  const arm = child(image('linux/arm/v7'));
  const more = IndexDraft.of(old);
  more.add(arm);
  const back = IndexDraft.of(existing(more.finish().bytes));
  assert.deepEqual(
    back.remove(new Set([arm.descriptor.digest])).map(({ descriptor }) => descriptor.digest),
    [arm.descriptor.digest],
  );
  assert.equal(back.finish().descriptor.digest, old.descriptor.digest);
});

test('attestations go with their image when it is removed or replaced', () => {
  const [amd64, arm64] = [image('linux/amd64'), image('linux/arm64')];
  const index = indexOf({ children: [amd64, arm64, attestationOf(amd64), attestationOf(arm64)] });
  const digests = (draft: IndexDraft): string[] =>
    (JSON.parse(draft.finish().bytes.toString()) as { manifests: { digest: string }[] }).manifests.map(
      ({ digest }) => digest,
    );
  const removed = IndexDraft.of(existing(rootBytes(index)));
  assert.equal(removed.remove(new Set([amd64.root.digest])).length, 2);
  assert.deepEqual(digests(removed), [arm64.root.digest, attestationOf(arm64).image.root.digest]);

  const replaced = IndexDraft.of(existing(rootBytes(index)));
  const newer = child(image('linux/amd64', 'oci', 'newer'));
  assert.equal(replaced.add(newer, { replace: true }), 'replaced');
  assert.deepEqual(digests(replaced), [
    newer.descriptor.digest,
    arm64.root.digest,
    attestationOf(arm64).image.root.digest,
  ]);
});

test('one digest is one child with the fields of both entries', () => {
  const one = image('linux/amd64');
  const draft = IndexDraft.create();
  assert.equal(draft.add(childOf(one.root, 'bare', undefined)), 'added');
  assert.equal(draft.add(child(one)), 'completed');
  assert.equal(draft.add(child(one)), 'present');
  const annotated = indexOf({ children: [{ image: one, annotations: { note: 'mine' } }] });
  for (const entry of childrenOf(existing(rootBytes(annotated)))) assert.equal(draft.add(entry), 'completed');
  const { manifests } = JSON.parse(draft.finish().bytes.toString()) as { manifests: unknown[] };
  assert.deepEqual(manifests, [
    {
      ...one.root,
      platform: { architecture: 'amd64', os: 'linux' },
      annotations: { note: 'mine' },
    },
  ]);
});

test('two images for one platform contradict each other, and so do two platforms for one image', () => {
  const [old, newer] = [image('linux/arm64'), image('linux/arm64/v8', 'oci', 'newer')];
  const draft = IndexDraft.create();
  draft.add(child(old, 'one.tar'));
  fails(
    () => draft.add(child(newer, 'two.tar')),
    'conflict',
    new RegExp(
      `two images for linux/arm64; got ${old.root.digest} of one.tar and ${newer.root.digest} of two.tar`,
    ),
  );
  fails(
    () => draft.add(childOf(old.root, 'three.tar', platformFields(parsePlatform('linux/amd64')))),
    'conflict',
    /has two platforms; got linux\/arm64 of one.tar and linux\/amd64 of three.tar/,
  );
  // Not the same place: another variant, another os version, another kind of artifact.
  draft.add(childOf(newer.root, 'v9', { architecture: 'arm64', os: 'linux', variant: 'v9' }));
  draft.add(child(image(windows)));
  draft.add(child(image({ ...windows, 'os.version': '10.0.20348.1' }, 'oci', 'newer')));
  assert.equal(draft.children.length, 4);
});

test('a manifest for several platforms, as some indexes have it, is no contradiction within that index', () => {
  const data = image('linux/amd64');
  const index = indexOf({
    children: [
      { image: data, platform: 'linux/amd64' },
      { image: data, platform: 'linux/arm64' },
    ],
  });
  const draft = IndexDraft.of(existing(rootBytes(index)));
  for (const entry of childrenOf(existing(rootBytes(index)))) assert.equal(draft.add(entry), 'present');
  assert.equal(draft.finish().descriptor.digest, index.root.digest);
});

test('a manifest list becomes an image index if Docker’s format cannot hold an addition', () => {
  const docker = child(image('linux/amd64', 'docker'));
  const kindOf = (draft: IndexDraft): string =>
    (JSON.parse(draft.finish().bytes.toString()) as { mediaType: string }).mediaType;
  const list = IndexDraft.create();
  list.add(docker);
  const old = existing(list.finish().bytes);
  assert.match(kindOf(list), /^application\/vnd\.docker\.distribution\.manifest\.list\.v2/);
  const changes: ((draft: IndexDraft) => void)[] = [
    (draft) => draft.add(child(image('linux/arm64'))),
    (draft) => draft.annotateChild(docker.descriptor.digest, { a: 'b' }),
    (draft) => draft.setFields({ annotations: { a: 'b' } }),
    (draft) => draft.setFields({ artifactType: 'application/x' }),
    (draft) => draft.setFields({ subject: image('linux/amd64').root }),
  ];
  for (const change of changes) {
    const altered = IndexDraft.of(old);
    change(altered);
    assert.equal(kindOf(altered), 'application/vnd.oci.image.index.v1+json');
    const asked = IndexDraft.create('docker');
    asked.add(docker);
    change(asked);
    fails(() => asked.finish(), 'usage', /manifest list cannot hold/);
  }
  const stays = IndexDraft.of(old);
  stays.add(child(image('linux/arm64', 'docker')));
  assert.equal(kindOf(stays), old.descriptor.mediaType);
  const oci = IndexDraft.create('oci');
  oci.add(docker);
  assert.equal(kindOf(oci), 'application/vnd.oci.image.index.v1+json');
});

test('a subject makes the index refer to it', () => {
  const draft = IndexDraft.create();
  draft.add(child(image('linux/amd64')));
  draft.setFields({ subject: image('linux/arm64').root });
  const index = parseManifest(draft.finish().bytes, undefined, 'index');
  assert.equal(index.subject?.digest, image('linux/arm64').root.digest);
});

test('an index without children, a malformed one and one that is too large are rejected', () => {
  fails(() => IndexDraft.create().finish(), 'usage', /no children/);
  fails(
    () => IndexDraft.of(existing('{"schemaVersion":2}', 'site/app:1')),
    'input',
    /site\/app:1.*no manifests/,
  );
  fails(() => IndexDraft.of(existing('{"manifests":[null]}')), 'input', /descriptor is not an object/);
  const draft = IndexDraft.create();
  draft.add(child(image('linux/amd64')));
  draft.setFields({ annotations: { long: 'x'.repeat(4 * 1024 * 1024) } });
  fails(() => draft.finish(), 'input', /too large/);
});
