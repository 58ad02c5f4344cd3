import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { bundleArchives } from '../../src/import/into-bundle.js';
import { isAirliftError } from '../../src/errors.js';
import { importImages, type ImportOptions } from '../../src/import/import.js';
import { inspect } from '../../src/inspect.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { saveImages } from '../../src/save/save.js';
import { artifactOf, cosignOf } from '../support/artifacts.js';
import { elfFile } from '../support/elf.js';
import { inMemory } from '../support/content.js';
import { assemble, imageOf, indexOf, layer, plainBlob, type TestImage } from '../support/images.js';
import { askRegistry } from '../support/registry-http.js';
import { layoutMembers, savedMembers } from '../support/saved.js';
import { serveStore } from '../support/serve-store.js';
import { tarOf, type TarMember } from '../support/tar.js';
import { temp } from '../support/temp.js';

function app(platform: string, text = 'app'): TestImage {
  const program = { name: 'bin/app', content: elfFile(platform, text), mode: 0o755 };
  return imageOf({ platform, layers: [layer([program], { compression: 'gzip' })] });
}

const index = indexOf({ children: [{ image: app('linux/amd64') }, { image: app('linux/arm64') }] });

/** Returns an attestation as cosign writes it: an in-toto statement in a DSSE envelope. */
function attestationOfImage(subject: TestImage): TestImage {
  const statement = {
    _type: 'https://in-toto.io/Statement/v0.1',
    predicateType: 'https://example.test/predicate',
    subject: [{ name: 'app', digest: { sha256: subject.root.digest.slice('sha256:'.length) } }],
    predicate: {},
  };
  const envelope = {
    payloadType: 'application/vnd.in-toto+json',
    payload: Buffer.from(JSON.stringify(statement)).toString('base64'),
    signatures: [{ sig: 'bm90IHJlYWw=' }],
  };
  return imageOf({
    platform: { architecture: '', os: '' },
    layers: [plainBlob(JSON.stringify(envelope), 'application/vnd.dsse.envelope.v1+json')],
  });
}

/** Returns a signature as cosign 3 stores it: a referrer. */
const bundleOf = (subject: TestImage): TestImage =>
  artifactOf({
    artifactType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    blobs: [plainBlob('{"not":"real"}', 'application/vnd.dev.sigstore.bundle.v0.3+json')],
    subject: subject.root,
  });

const sig = cosignOf(index, 'sig').image;
const att = attestationOfImage(index);
const sbom = cosignOf(index, 'sbom').image;
const tagOf = (subject: TestImage, kind: string): string =>
  `${subject.root.digest.replace(':', '-')}.${kind}`;

async function written(t: TestContext, file: string, members: readonly TarMember[]): Promise<string> {
  const path = join(temp(t), file);
  await writeFile(path, tarOf(members));
  return path;
}

/** Imports into a new registry, and returns its host and the warnings. */
async function imported(
  t: TestContext,
  inputs: readonly string[],
  archives: ImportOptions['archives'] = {},
): Promise<{ host: string; warnings: string[] }> {
  const host = await serveStore(t);
  const warnings: string[] = [];
  await importImages({
    inputs,
    archives,
    to: { registry: host },
    registry: {},
    onEvent: (event) => {
      if (event.event === 'warning') warnings.push(event.message);
    },
  });
  return { host, warnings };
}

async function tags(host: string, repository: string): Promise<string[]> {
  const answer = await askRegistry(host, { method: 'GET', path: `/v2/${repository}/tags/list` });
  const { tags: list } = JSON.parse(answer.body.toString()) as { tags: string[] };
  return list.sort();
}

async function digestOfTag(host: string, repository: string, tag: string): Promise<unknown> {
  const answer = await askRegistry(host, {
    method: 'GET',
    path: `/v2/${repository}/manifests/${tag}`,
    headers: { accept: '*/*' },
  });
  assert.equal(answer.status, 200, `${repository}:${tag}`);
  return answer.headers['docker-content-digest'];
}

async function referrersOf(host: string, repository: string, subject: TestImage): Promise<string[]> {
  const answer = await askRegistry(host, {
    method: 'GET',
    path: `/v2/${repository}/referrers/${subject.root.digest}`,
  });
  const { manifests } = JSON.parse(answer.body.toString()) as { manifests: { digest: string }[] };
  return manifests.map(({ digest }) => digest);
}

interface Entry {
  readonly name: string | undefined;
  readonly image: TestImage;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Returns the entries of a store that hauler saves, all with the image's name. */
function haul(prefix: string, name: string | undefined): Entry[] {
  const referrer = bundleOf(index);
  const kinds: [image: TestImage, kind: string][] = [
    [index, 'imageIndex'],
    [sig, 'sigs'],
    [att, 'atts'],
    [sbom, 'sboms'],
    [referrer, `referrers/${referrer.root.digest.replace(':', '')}`],
  ];
  return kinds.map(([image, kind]) => ({ name, image, annotations: { kind: `${prefix}/${kind}` } }));
}

async function checkHaul(host: string, repository: string, tag: string): Promise<void> {
  assert.deepEqual(
    await tags(host, repository),
    [tag, tagOf(index, 'sig'), tagOf(index, 'att'), tagOf(index, 'sbom')].sort(),
  );
  assert.equal(await digestOfTag(host, repository, tag), index.root.digest);
  assert.equal(await digestOfTag(host, repository, tagOf(index, 'sig')), sig.root.digest);
  assert.equal(await digestOfTag(host, repository, tagOf(index, 'att')), att.root.digest);
  assert.equal(await digestOfTag(host, repository, tagOf(index, 'sbom')), sbom.root.digest);
  assert.deepEqual(await referrersOf(host, repository, index), [bundleOf(index).root.digest]);
}

suite('archives whose entries have roles', { timeout: 120_000 }, () => {
  for (const prefix of ['dev.hauler', 'dev.cosignproject.cosign']) {
    test(`${prefix}: signatures under the name of their image go beside it`, async (t) => {
      const name = 'index.docker.io/library/nginx:1.25';
      const path = await written(t, 'haul-amd64.tar', layoutMembers(haul(prefix, name)));
      const { host, warnings } = await imported(t, [path]);
      await checkHaul(host, 'library/nginx', '1.25');
      assert.deepEqual(warnings, []);
    });

    test(`${prefix}: without names, they go beside the image that --name names`, async (t) => {
      const path = await written(t, 'saved.tar', layoutMembers(haul(prefix, undefined)));
      const { host } = await imported(t, [path], { name: 'team/co:1' });
      await checkHaul(host, 'team/co', '1');
    });
  }

  test('a signature before its image, and one of an image among several, find their image', async (t) => {
    const other = app('linux/amd64', 'other');
    const kind = (word: string): Record<string, string> => ({ kind: `dev.hauler/${word}` });
    const entries: Entry[] = [
      { name: 'team/app:1', image: sig, annotations: kind('sigs') },
      { name: 'team/other:1', image: other, annotations: kind('image') },
      { name: 'team/app:1', image: index, annotations: kind('imageIndex') },
      { name: 'quay.io/team/app:2', image: index, annotations: kind('imageIndex') },
      { name: 'team/other:1', image: cosignOf(other, 'sbom').image, annotations: kind('sboms') },
    ];
    const { host } = await imported(t, [await written(t, 'haul.tar', layoutMembers(entries))]);
    assert.deepEqual(await tags(host, 'team/app'), ['1', '2', tagOf(index, 'sig')].sort());
    assert.deepEqual(await tags(host, 'team/other'), ['1', tagOf(other, 'sbom')].sort());
  });

  test('a referrer that cosign 3 leaves out of index.json is pushed with its image', async (t) => {
    const referrer = bundleOf(index);
    const members = layoutMembers([
      { name: undefined, image: index, annotations: { kind: 'dev.cosignproject.cosign/imageIndex' } },
      { name: undefined, image: referrer },
    ]).map((member) => {
      if (member.name !== 'index.json') return member;
      const json = JSON.parse(String(member.content)) as { manifests: { digest: string }[] };
      const manifests = json.manifests.filter(({ digest }) => digest !== referrer.root.digest);
      return { ...member, content: JSON.stringify({ ...json, manifests }) };
    });
    const { host } = await imported(t, [await written(t, 'saved.tar', members)], { name: 'team/co:1' });
    assert.deepEqual(await referrersOf(host, 'team/co', index), [referrer.root.digest]);
  });

  test('a bundle imported from such an archive has the signatures, but save does not write them', async (t) => {
    const dir = temp(t);
    const path = await written(t, 'haul.tar', layoutMembers(haul('dev.hauler', 'team/app:1')));
    const output = join(dir, 'bundle.tar');
    await bundleArchives({ inputs: [path], output, created: new Date(0) });
    const { images } = await inspect(output);
    assert.deepEqual(
      images
        .filter(({ companionOf }) => companionOf !== undefined)
        .map(({ digest }) => digest)
        .sort(),
      [sig, att, sbom].map(({ root }) => root.digest).sort(),
    );
    const { host } = await imported(t, [output]);
    await checkHaul(host, 'team/app', '1');
    const saved = join(dir, 'saved.tar');
    const { files } = await saveImages({ from: { files: [path] }, format: 'oci-archive', output: saved });
    assert.equal(files[0]?.images, 1);
  });

  test('save --tag names the only image of an archive without names', async (t) => {
    const path = await written(t, 'saved.tar', layoutMembers(haul('dev.cosignproject.cosign', undefined)));
    const { files } = await saveImages({
      from: { files: [path], archives: { name: undefined } },
      tags: ['team/co:1'],
      format: 'oci-archive',
      output: join(temp(t), 'out.tar'),
    });
    assert.equal(files[0]?.images, 1);
  });

  test('a signature in a docker-archive is skipped with a warning, because its manifest is lost', async (t) => {
    const payload = imageOf({
      platform: { architecture: '', os: '' },
      layers: [plainBlob('{"critical":{}}', 'application/vnd.dev.cosign.simplesigning.v1+json')],
    });
    const image = imageOf({
      platform: 'linux/arm64',
      layers: [layer([{ name: 'f', content: 'x' }], { compression: 'none' })],
    });
    const name = `team/app:${tagOf(index, 'sig')}`;
    const path = await written(
      t,
      'x.tar',
      savedMembers('podman', [
        { tags: [name], image: payload },
        { tags: ['team/app:1'], image },
      ]),
    );
    const { host, warnings } = await imported(t, [path]);
    assert.deepEqual(await tags(host, 'team/app'), ['1']);
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0] ?? '',
      /skipped docker\.io\/team\/app:sha256-\w+\.sig: a docker-archive does not keep the manifests/,
    );
  });

  test('--on-existing-tag merge does not merge signatures into an index', async (t) => {
    const labelled = (text: string): TestImage =>
      imageOf({
        platform: text,
        layers: [plainBlob(`{"${text}":1}`, 'application/vnd.dev.cosign.simplesigning.v1+json')],
      });
    const name = `team/app:${tagOf(index, 'sig')}`;
    const [before, after] = [labelled('linux/amd64'), labelled('linux/arm64')];
    const host = await serveStore(t);
    for (const image of [before, after]) {
      const inputs = [await written(t, 'x.tar', layoutMembers([{ name, image }]))];
      await importImages({ inputs, to: { registry: host }, registry: {}, onExistingTag: 'merge' });
      assert.equal(await digestOfTag(host, 'team/app', tagOf(index, 'sig')), image.root.digest);
    }
  });
});

/** Artifacts that tools store as images, although they are not runnable. */
const artifacts: Readonly<Record<string, TestImage>> = {
  signature: sig,
  attestation: att,
  sbom,
  chart: assemble(
    {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.cncf.helm.config.v1+json',
        digest: inMemory(Buffer.from('{"name":"c"}')).digest,
        size: 12,
      },
      layers: [],
    },
    { blobs: [inMemory(Buffer.from('{"name":"c"}'))] },
  ),
  'empty config': imageOf({
    platform: { architecture: '', os: '' },
    layers: [layer([{ name: 'file', content: 'x' }])],
    config: { rootfs: undefined },
  }),
  'config {}': assemble(
    {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: inMemory(Buffer.from('{}')).digest,
        size: 2,
      },
      layers: [plainBlob('data', 'application/vnd.oci.image.layer.v1.tar').descriptor],
    },
    { blobs: [inMemory(Buffer.from('{}')), plainBlob('data', 'x').content] },
  ),
  'artifact type': imageOf({
    layers: [layer([{ name: 'bin/app', content: elfFile('linux/arm64', 'x'), mode: 0o755 }])],
    artifactType: 'application/vnd.example.thing',
  }),
  'empty media type': artifactOf({ artifactType: 'application/vnd.example.other' }),
  wasm: imageOf({
    platform: { architecture: 'wasm', os: 'wasip1' },
    layers: [plainBlob('\0asm', 'application/wasm')],
  }),
};
suite('artifacts that are not runnable images', { timeout: 120_000 }, () => {
  for (const [what, image] of Object.entries(artifacts)) {
    test(`${what}: neither a file name nor --arch makes an index of it`, async (t) => {
      const name = 'team/thing:1';
      const path = await written(t, 'thing-arm64.tar', layoutMembers([{ name, image }]));
      const { host } = await imported(t, [path]);
      assert.equal(await digestOfTag(host, 'team/thing', '1'), image.root.digest);
      const platforms = new Map([[path, parsePlatform('linux/s390x')]]);
      const forced = await imported(t, [path], { platforms });
      assert.equal(await digestOfTag(forced.host, 'team/thing', '1'), image.root.digest);
    });

    test(`${what}: merging archives leaves it as it is`, async (t) => {
      const parts = ['linux/amd64', 'linux/arm64'].map((platform) =>
        layoutMembers([
          { name: 'team/app:1', image: app(platform) },
          { name: 'team/thing:1', image },
        ]),
      );
      const inputs = [
        await written(t, 'part-amd64.tar', parts[0] ?? []),
        await written(t, 'part-arm64.tar', parts[1] ?? []),
      ];
      const { host } = await imported(t, inputs);
      assert.equal(await digestOfTag(host, 'team/thing', '1'), image.root.digest);
    });
  }

  test('an image under one of cosign’s tags is published unchanged, whatever its content', async (t) => {
    const image = imageOf({
      platform: { architecture: '', os: '' },
      layers: [layer([{ name: 'f', content: 'x' }])],
    });
    const tag = tagOf(index, 'att');
    const path = await written(t, 'app-arm64.tar', layoutMembers([{ name: `team/app:${tag}`, image }]));
    const { host } = await imported(t, [path]);
    assert.equal(await digestOfTag(host, 'team/app', tag), image.root.digest);
  });

  test('two signatures with the same name are a conflict with a hint that works', async (t) => {
    const other = imageOf({
      platform: { architecture: '', os: '' },
      layers: [plainBlob('{"other":1}', 'application/vnd.dev.cosign.simplesigning.v1+json')],
    });
    const name = `team/app:${tagOf(index, 'sig')}`;
    const inputs = [
      await written(t, 'a-amd64.tar', layoutMembers([{ name, image: sig }])),
      await written(t, 'b-arm64.tar', layoutMembers([{ name, image: other }])),
    ];
    await assert.rejects(imported(t, inputs), (error) => {
      assert.ok(isAirliftError(error, 'conflict'), String(error));
      assert.match(error.message, /is not a runnable image and cannot share its name/);
      assert.match(error.hint ?? '', /^omit one of the files, or import \S+ separately with `rules`$/);
      return true;
    });
  });

  test('an image whose config states no platform gets it from the file name', async (t) => {
    const image = imageOf({
      platform: { architecture: '', os: '' },
      layers: [layer([{ name: 'etc/file', content: 'x' }])],
    });
    const path = await written(t, 'app-arm64.tar', layoutMembers([{ name: 'team/app:1', image }]));
    const { host } = await imported(t, [path]);
    const answer = await askRegistry(host, {
      method: 'GET',
      path: '/v2/team/app/manifests/1',
      headers: { accept: '*/*' },
    });
    const { manifests } = JSON.parse(answer.body.toString()) as {
      manifests: { digest: string; platform: unknown }[];
    };
    assert.deepEqual(manifests[0]?.platform, { architecture: 'arm64', os: 'linux' });
    assert.equal(manifests[0].digest, image.root.digest);
  });
});
