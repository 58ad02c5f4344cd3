import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appendToIndex, createIndex, mergeIntoIndex, removeFromIndex } from '../../src/image-index/edit.js';
import { inspectIndex } from '../../src/image-index/inspect.js';
import type { Digest } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { parseReference } from '../../src/oci/reference.js';
import type { RequestTrace } from '../../src/registry/registry.js';
import { artifactOf, attestationOf } from '../support/artifacts.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { failsWith } from '../support/errors.js';
import { imageOf, indexOf, layer, plainBlob, type TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import type { Cleanup } from '../support/temp.js';

const skip = needs('docker-registry');

function image(platform: string, salt = ''): TestImage {
  return imageOf({ platform, layers: [layer([{ name: 'about', content: `${platform} ${salt}` }])] });
}

const [amd64, arm64, arm] = [image('linux/amd64'), image('linux/arm64'), image('linux/arm/v7')];

/** A registry with images, and how to call airlift upon it. */
async function site(t: Cleanup): Promise<{
  host: string;
  requests: string[];
  name: (text: string) => ReturnType<typeof parseReference>;
  push: (path: string, image: TestImage) => Promise<void>;
  json: (path: string) => Promise<IndexJson & { bytes: Buffer; type: string }>;
  common: { registry: object; hooks: { trace: (event: RequestTrace) => void } };
}> {
  const registry = await startDockerRegistry();
  t.after(() => registry.stop());
  const { host } = registry;
  const requests: string[] = [];
  return {
    host,
    requests,
    name: (text) => parseReference(`${host}/${text}`),
    push: async (path, one) => {
      const [repository = '', tag] = path.split(':');
      await pushImage(host, repository, tag, one);
    },
    json: async (path) => {
      const [repository = '', tag = ''] = path.split(':');
      const accept = 'application/vnd.oci.image.index.v1+json';
      const answer = await askRegistry(host, {
        method: 'GET',
        path: `/v2/${repository}/manifests/${tag}`,
        headers: { accept },
      });
      assert.equal(answer.status, 200);
      const json = JSON.parse(answer.body.toString()) as IndexJson;
      return { ...json, bytes: answer.body, type: answer.headers['content-type'] ?? '' };
    },
    common: {
      registry: {},
      hooks: { trace: (event) => requests.push(`${event.method} ${new URL(event.url).pathname}`) },
    },
  };
}

interface IndexJson {
  manifests: {
    digest: Digest;
    platform?: Record<string, string>;
    annotations?: Record<string, string>;
    artifactType?: string;
  }[];
  annotations?: Record<string, string>;
  artifactType?: string;
  subject?: { digest: Digest };
}

function digests({ manifests }: IndexJson): Digest[] {
  return manifests.map(({ digest }) => digest);
}

test(
  'an index of images of three repositories is whole where it is',
  { skip: skip || needs('skopeo') },
  async (t) => {
    const { host, name, push, json, common } = await site(t);
    await push('team/app:amd64', amd64);
    await push('other/app:arm64', arm64);
    await push('third/app:arm', indexOf({ children: [arm, attestationOf(arm)] }));
    const summary = await createIndex({
      ...common,
      target: name('team/app:1.0'),
      sources: [
        { reference: name('team/app:amd64') },
        { reference: name('other/app:arm64'), annotations: { note: 'from the other' } },
        { reference: name('third/app:arm') },
      ],
      annotations: { 'org.opencontainers.image.version': '1.0' },
      artifactType: 'application/vnd.example',
    });
    const index = await json('team/app:1.0');
    assert.deepEqual(digests(index), [
      amd64.root.digest,
      arm64.root.digest,
      arm.root.digest,
      attestationOf(arm).image.root.digest,
    ]);
    assert.deepEqual(index.manifests[1]?.annotations, { note: 'from the other' });
    assert.equal(index.annotations?.['org.opencontainers.image.version'], '1.0');
    assert.equal(index.artifactType, 'application/vnd.example');
    assert.equal(summary.copied, 3);
    assert.equal(summary.children, 4);
    assert.equal(summary.previous, undefined);
    for (const [platform, one] of [
      ['amd64', amd64],
      ['arm64', arm64],
      ['arm', arm],
    ] as const) {
      const { stdout } = await run('skopeo', [
        ...['--override-os', 'linux', '--override-arch', platform],
        ...(platform === 'arm' ? ['--override-variant', 'v7'] : []),
        ...['inspect', '--tls-verify=false', '--raw', `docker://${host}/team/app@${one.root.digest}`],
      ]);
      assert.match(stdout, /"layers"/);
    }
  },
);

test('blobs of other repositories are mounted, not sent', { skip }, async (t) => {
  const { name, push, common, requests } = await site(t);
  await push('team/app:amd64', amd64);
  await push('other/app:arm64', arm64);
  await createIndex({
    ...common,
    target: name('team/app:1.0'),
    sources: [{ reference: name('team/app:amd64') }, { reference: name('other/app:arm64') }],
  });
  assert.deepEqual(
    requests.filter((line) => line.startsWith('PATCH') || /^PUT .*\/blobs\//.test(line)),
    [],
  );
  assert.ok(requests.filter((line) => /^POST .*\/blobs\/uploads/.test(line)).length >= 2);
});

test('appending and removing write the index and nothing else', { skip }, async (t) => {
  const { host, name, push, json, common, requests } = await site(t);
  const annotated = indexOf({
    children: [amd64, { image: arm64, annotations: { 'sh.brew.tab': '{}' } }, attestationOf(arm64)],
    annotations: { keep: 'me' },
  });
  await push('team/app:1.0', annotated);
  await push('team/app:arm', arm);
  const target = name('team/app:1.0');

  await appendToIndex({ ...common, target, sources: [{ reference: name('team/app:arm') }] });
  const appended = await json('team/app:1.0');
  assert.deepEqual(digests(appended).at(-1), arm.root.digest);
  assert.deepEqual(appended.manifests[1]?.annotations, { 'sh.brew.tab': '{}' });
  assert.deepEqual(appended.annotations, { keep: 'me' });

  const summary = await removeFromIndex({ ...common, target, children: [parsePlatform('linux/arm/v7')] });
  assert.equal(summary.digest, annotated.root.digest);
  assert.equal((await json('team/app:1.0')).bytes.length, annotated.root.size);

  await removeFromIndex({ ...common, target, children: [arm64.root.digest] });
  assert.deepEqual(digests(await json('team/app:1.0')), [amd64.root.digest]);

  const writes = requests.filter((line) => !/^(GET|HEAD) /.test(line));
  assert.deepEqual(new Set(writes), new Set(['PUT /v2/team/app/manifests/1.0']));
  assert.equal(writes.length, 3);
  // What was taken out is still there by its digest.
  const { status } = await askRegistry(host, {
    method: 'HEAD',
    path: `/v2/team/app/manifests/${arm64.root.digest}`,
    headers: { accept: arm64.root.mediaType },
  });
  assert.equal(status, 200);
});

test('appending existing children writes nothing', { skip }, async (t) => {
  const { name, push, common, requests } = await site(t);
  const index = indexOf({ children: [amd64, arm64] });
  await push('team/app:1.0', index);
  const target = name('team/app:1.0');
  const summary = await appendToIndex({
    ...common,
    target,
    sources: [{ reference: { ...target, tag: undefined, digest: arm64.root.digest } }],
  });
  assert.equal(summary.digest, index.root.digest);
  assert.deepEqual(
    requests.filter((line) => !/^(GET|HEAD) /.test(line)),
    [],
  );
});

test(
  'a second image for a platform is rejected, or replaces the first with --replace',
  { skip },
  async (t) => {
    const { name, push, json, common } = await site(t);
    const newer = image('linux/arm64', 'newer');
    await push('team/app:1.0', indexOf({ children: [amd64, arm64, attestationOf(arm64)] }));
    await push('team/app:newer', newer);
    const call = {
      ...common,
      target: name('team/app:1.0'),
      sources: [{ reference: name('team/app:newer') }],
    };
    await failsWith(
      appendToIndex(call),
      'conflict',
      /two images for linux\/arm64; got .* of .*:1\.0 and .*:newer/,
    );
    await appendToIndex({ ...call, replace: true });
    assert.deepEqual(digests(await json('team/app:1.0')), [amd64.root.digest, newer.root.digest]);
  },
);

test('an artifact needs a platform, or the explicit platform none', { skip }, async (t) => {
  const { name, push, json, common } = await site(t);
  const artifact = artifactOf({
    artifactType: 'application/vnd.example.tool',
    blobs: [plainBlob('tool', 'application/octet-stream')],
  });
  await push('team/tool:linux', artifact);
  const reference = name('team/tool:linux');
  const target = name('team/tool:1');
  await failsWith(
    createIndex({ ...common, target, sources: [{ reference }] }),
    'usage',
    /team\/tool:linux has no platform; got application\/vnd\.example\.tool$/,
  );
  await createIndex({
    ...common,
    target,
    sources: [{ reference, platform: parsePlatform('linux/arm64') }],
  });
  assert.deepEqual(
    (await json('team/tool:1')).manifests.map(({ digest, platform, artifactType }) => ({
      digest,
      platform,
      artifactType,
    })),
    [
      {
        digest: artifact.root.digest,
        platform: { architecture: 'arm64', os: 'linux' },
        artifactType: 'application/vnd.example.tool',
      },
    ],
  );
  await createIndex({ ...common, target, sources: [{ reference, platform: 'none' }] });
  assert.equal((await json('team/tool:1')).manifests[0]?.platform, undefined);
});

test('an index provides one platform, or itself as a child', { skip }, async (t) => {
  const { name, push, json, common } = await site(t);
  const index = indexOf({ children: [amd64, arm64, attestationOf(arm64)] });
  await push('up/stream:1', index);
  const reference = name('up/stream:1');
  const target = name('team/app:1');
  await createIndex({
    ...common,
    target,
    sources: [{ reference, platform: parsePlatform('linux/arm64') }],
  });
  assert.deepEqual(digests(await json('team/app:1')), [
    arm64.root.digest,
    attestationOf(arm64).image.root.digest,
  ]);
  await createIndex({ ...common, target, sources: [{ reference }], nest: true });
  assert.deepEqual(digests(await json('team/app:1')), [index.root.digest]);
  await failsWith(
    createIndex({ ...common, target, sources: [{ reference, platform: parsePlatform('linux/s390x') }] }),
    'platform-missing',
    /got linux\/amd64, linux\/arm64, .*want linux\/s390x/,
  );
});

test(
  'merging gives an index that holds all, with its own digest where one does already',
  { skip },
  async (t) => {
    const { name, push, json, common } = await site(t);
    const whole = indexOf({ children: [amd64, arm64, arm], annotations: { up: 'stream' } });
    await push('vendor/app:1', whole);
    await push('vendor/part:1', indexOf({ children: [arm64] }));
    const merged = await mergeIntoIndex({
      ...common,
      target: name('team/app:1'),
      sources: [{ reference: name('vendor/part:1') }, { reference: name('vendor/app:1') }],
    });
    assert.equal(merged.digest, whole.root.digest);
    assert.equal((await json('team/app:1')).bytes.length, whole.root.size);

    await push('vendor/more:1', image('linux/s390x'));
    const more = await mergeIntoIndex({
      ...common,
      target: name('team/app:1'),
      sources: [{ reference: name('team/app:1') }, { reference: name('vendor/more:1') }],
    });
    assert.equal(more.previous, whole.root.digest);
    const union = await json('team/app:1');
    const images = [amd64, arm64, arm, image('linux/s390x')];
    assert.deepEqual(
      digests(union),
      images.map(({ root }) => root.digest),
    );
    assert.deepEqual(union.annotations, { up: 'stream' });
  },
);

test('a subject has to be in the repository of the index', { skip }, async (t) => {
  const { name, push, json, common } = await site(t);
  await push('team/app:amd64', amd64);
  await push('other/app:arm64', arm64);
  const call = { ...common, target: name('team/app:1'), sources: [{ reference: name('team/app:amd64') }] };
  await failsWith(
    createIndex({ ...call, subject: name('other/app:arm64') }),
    'usage',
    /must be in the same repository/,
  );
  const { digest } = await createIndex({ ...call, subject: name('team/app:amd64') });
  assert.equal((await json('team/app:1')).subject?.digest, amd64.root.digest);
  // This registry does not list referrers itself: the fallback tag does.
  assert.deepEqual(digests(await json(`team/app:${amd64.root.digest.replace(':', '-')}`)), [digest]);
});

test('an impossible edit is an error and changes nothing', { skip }, async (t) => {
  const { name, push, common, requests } = await site(t);
  await push('team/app:amd64', amd64);
  await push('team/app:1', indexOf({ children: [amd64] }));
  const target = name('team/app:1');
  const reference = name('team/app:amd64');
  await failsWith(
    createIndex({ ...common, target: { ...target, tag: undefined }, sources: [{ reference }] }),
    'usage',
    /not a reference with a tag alone/,
  );
  await failsWith(
    appendToIndex({ ...common, target: reference, sources: [{ reference }] }),
    'usage',
    /not an index; got application\/vnd\.oci\.image\.manifest/,
  );
  await failsWith(
    removeFromIndex({ ...common, target, children: [amd64.root.digest] }),
    'usage',
    /no children would be left/,
  );
  await failsWith(
    removeFromIndex({ ...common, target, children: [parsePlatform('linux/arm64')] }),
    'not-found',
    /got linux\/amd64, want linux\/arm64/,
  );
  await failsWith(
    createIndex({ ...common, target, sources: [{ reference: name('team/none:1') }] }),
    'not-found',
    /team\/none:1/,
  );
  assert.deepEqual(
    requests.filter((line) => !/^(GET|HEAD) /.test(line)),
    [],
  );
});

test('inspect reports each child and whether the registry holds it', { skip }, async (t) => {
  const { host, name, push, common } = await site(t);
  await push('team/app:1', indexOf({ children: [amd64, arm64, attestationOf(arm64)] }));
  await askRegistry(host, { method: 'DELETE', path: `/v2/team/app/manifests/${amd64.root.digest}` });
  const { report, bytes } = await inspectIndex({ ...common, reference: name('team/app:1') });
  assert.equal(bytes.length, report.size);
  assert.deepEqual(
    report.children.map(({ platform, held, describes }) => ({ platform, held, describes })),
    [
      { platform: 'linux/amd64', held: false, describes: undefined },
      { platform: 'linux/arm64', held: true, describes: undefined },
      { platform: 'unknown/unknown', held: true, describes: arm64.root.digest },
    ],
  );
  await push('team/app:single', arm64);
  await failsWith(
    inspectIndex({ ...common, reference: name('team/app:single') }),
    'usage',
    /not an index; got application\/vnd\.oci\.image\.manifest/,
  );
});
