import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from './support/airlift.js';
import { artifactOf, cosignOf, referrersTagOf, sbomOf } from './support/artifacts.js';
import { bytesOf, testDigest } from './support/content.js';
import { startDockerRegistry, type DockerRegistry } from './support/docker-registry.js';
import { plainBlob, type DescriptorJson, type TestImage } from './support/images.js';
import { multiPlatform } from './support/image-sets.js';
import { needs } from './support/peers.js';
import { pushImage } from './support/push-image.js';
import { askRegistry, type Answer } from './support/registry-http.js';
import { serveStore } from './support/serve-store.js';
import { temp, type Cleanup } from './support/temp.js';

const ociIndex = 'application/vnd.oci.image.index.v1+json';
const accept = `${ociIndex}, application/vnd.oci.image.manifest.v1+json`;
const repository = 'acme/app';
const image = multiPlatform({ name: 'discovered' });
/** Returns the descriptor of one platform's image. */
const childOf = (architecture: string): DescriptorJson => {
  const index = [...image.manifests.values()].find(({ digest }) => digest === image.root.digest);
  const { manifests } = JSON.parse(bytesOf(index ?? assert.fail()).toString()) as {
    manifests: DescriptorJson[];
  };
  return manifests.find(({ platform }) => platform?.architecture === architecture) ?? assert.fail();
};
const refersTo = (subject: DescriptorJson, artifactType: string, text: string): TestImage =>
  artifactOf({
    artifactType,
    subject: subject as TestImage['root'],
    blobs: [plainBlob(text, 'text/plain')],
    annotations: { 'org.opencontainers.image.title': text },
  });

const types = {
  sbom: 'application/spdx+json',
  signature: 'application/vnd.dev.sigstore.bundle.v0.3+json',
  scan: 'application/vnd.acme.scan.v1',
};
const sbom = sbomOf(image);
const signature = refersTo(image.root as DescriptorJson, types.signature, 'signature of the index');
const scan = refersTo(childOf('arm64'), types.scan, 'scan of one platform');
const amdScan = refersTo(childOf('amd64'), types.scan, 'scan of another platform');
const sbomSignature = refersTo(sbom.root as DescriptorJson, types.signature, 'signature of the SBOM');
/** All referrers, with their subjects and types. */
const referrers: readonly (readonly [of: DescriptorJson, type: string, image: TestImage])[] = [
  [image.root as DescriptorJson, types.sbom, sbom],
  [image.root as DescriptorJson, types.signature, signature],
  [childOf('arm64'), types.scan, scan],
  [childOf('amd64'), types.scan, amdScan],
  [sbom.root as DescriptorJson, types.signature, sbomSignature],
];
const cosign = (['sig', 'att', 'sbom'] as const).map((kind) => cosignOf(image, kind));

/** Pushes the image with its signatures and referrers, and for a registry without the referrers API also the lists of referrers. */
async function fill(host: string, hasApi: boolean): Promise<void> {
  await pushImage(host, repository, '1', image);
  for (const [, , referrer] of referrers) await pushImage(host, repository, undefined, referrer);
  for (const { tag, image: signed } of cosign) await pushImage(host, repository, tag, signed);
  if (hasApi) return;
  for (const subject of new Set(referrers.map(([of]) => of.digest))) {
    const own = referrers.filter(([of]) => of.digest === subject);
    const list = own.map(([, artifactType, referrer]) => ({ image: referrer, artifactType }));
    const { tag, image: index } = referrersTagOf({ root: { digest: subject } } as TestImage, list);
    await pushImage(host, repository, tag, index);
  }
}

const get = (host: string, path: string): Promise<Answer> =>
  askRegistry(host, { method: 'GET', path: `/v2/${repository}/${path}`, headers: { accept } });

interface Listed extends DescriptorJson {
  readonly artifactType?: string;
}

/** Returns the referrers of a digest that a registry lists, requested as clients do. */
async function listed(host: string, hasApi: boolean, digest: string, query = ''): Promise<Listed[]> {
  const path = hasApi ? `referrers/${digest}${query}` : `manifests/${digest.replace(':', '-')}`;
  const answer = await get(host, path);
  if (answer.status === 404) return [];
  assert.equal(answer.status, 200, `GET ${path}`);
  assert.equal(answer.headers['content-type'], ociIndex);
  const { manifests } = JSON.parse(answer.body.toString()) as { manifests: Listed[] };
  return manifests.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
}

/** Returns the expected list of a digest's referrers. */
function wanted(digest: string): Listed[] {
  return referrers
    .filter(([of]) => of.digest === digest)
    .map(([, artifactType, { root, manifests }]): Listed => {
      const manifest = [...manifests.values()].find((each) => each.digest === root.digest) ?? assert.fail();
      const { annotations } = JSON.parse(bytesOf(manifest).toString()) as {
        annotations: Record<string, string>;
      };
      const { mediaType, digest: own, size } = manifest;
      return { mediaType, digest: own, size, artifactType, annotations };
    })
    .toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
}

/** Asserts that a registry has each referrer's manifest, byte for byte. */
async function holds(host: string, ...images: TestImage[]): Promise<void> {
  for (const { root } of images) {
    const path = `/v2/${repository}/manifests/${root.digest}`;
    const headers = { accept: root.mediaType };
    const { status, body } = await askRegistry(host, { method: 'GET', path, headers });
    assert.equal(status, 200, path);
    assert.equal(testDigest(body), root.digest);
  }
}

describe('signatures, SBOMs and scans are found at the site', { skip: needs('docker-registry') }, () => {
  let docker: DockerRegistry;
  let own: string;
  const scratch: (() => Promise<void> | void)[] = [];
  const subjects = [...new Set(referrers.map(([of]) => of.digest))];

  before(async () => {
    docker = await startDockerRegistry();
    own = await serveStore({ after: (work) => void scratch.push(work) });
    await fill(docker.host, false);
    await fill(own, true);
  });
  after(async () => {
    await docker?.stop();
    for (const work of scratch.toReversed()) await work();
  });

  async function site(t: Cleanup, hasApi: boolean): Promise<string> {
    if (hasApi) return serveStore(t, { allowSparse: true });
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    return registry.host;
  }

  async function carry(t: Cleanup, from: string, to: string, ...flags: string[]): Promise<void> {
    const bundle = join(temp(t), 'site.tar');
    await airlift(['export', `${from}/${repository}:1`, '-o', bundle, ...flags]);
    await airlift(['verify', bundle]);
    await airlift(['import', bundle, '--to', to]);
  }

  const kinds = [
    ['the referrers API', true],
    ['lists under tags', false],
  ] as const;
  for (const [fromKind, fromApi] of kinds)
    for (const [toKind, toApi] of kinds)
      test(`from a registry with ${fromKind} to one with ${toKind}`, async (t) => {
        const to = await site(t, toApi);
        await carry(t, fromApi ? own : docker.host, to);
        for (const subject of subjects) assert.deepEqual(await listed(to, toApi, subject), wanted(subject));
        await holds(to, ...referrers.map(([, , referrer]) => referrer));
        for (const { tag, image: signed } of cosign) {
          const { status, body } = await get(to, `manifests/${tag}`);
          assert.equal(status, 200, tag);
          assert.equal(testDigest(body), signed.root.digest);
        }
        if (!toApi) return;
        const query = `?artifactType=${encodeURIComponent(types.sbom)}`;
        const only = await listed(to, toApi, image.root.digest, query);
        assert.deepEqual(
          only.map(({ digest }) => digest),
          [sbom.root.digest],
        );
      });

  test('a list that the site has keeps its entries, and a second import adds nothing', async (t) => {
    const to = await site(t, false);
    const mine = refersTo(image.root as DescriptorJson, 'application/vnd.site.approval', 'approved here');
    await pushImage(to, repository, undefined, mine);
    const { tag, image: index } = referrersTagOf(image, [
      { image: mine, artifactType: 'application/vnd.site.approval' },
    ]);
    await pushImage(to, repository, tag, index);
    await carry(t, own, to);
    const digests = async (): Promise<string[]> =>
      (await listed(to, false, image.root.digest)).map(({ digest }) => digest);
    const want = [mine, sbom, signature].map(({ root }) => root.digest as string).sort();
    assert.deepEqual(await digests(), want);
    await carry(t, own, to);
    assert.deepEqual(await digests(), want);
  });

  for (const [kind, toApi] of kinds)
    test(`of a filtered image: what refers to the publisher’s index, and to the platforms chosen, by ${kind}`, async (t) => {
      const to = await site(t, toApi);
      await carry(t, own, to, '--platform', 'linux/arm64,linux/arm/v7');
      for (const subject of subjects) {
        const want = subject === childOf('amd64').digest ? [] : wanted(subject);
        assert.deepEqual(await listed(to, toApi, subject), want, subject);
      }
      // Clients first request the index that they verify: only a registry that accepts the publisher’s incomplete index has it.
      assert.equal((await get(to, `manifests/${image.root.digest}`)).status, toApi ? 200 : 404);
      const [sig] = cosign;
      assert.equal((await get(to, `manifests/${sig?.tag}`)).status, 200);
      assert.equal((await get(to, `manifests/${amdScan.root.digest}`)).status, 404);
    });

  test('--no-referrers leaves them all behind', async (t) => {
    const to = await site(t, true);
    await carry(t, own, to, '--no-referrers');
    for (const subject of subjects) assert.deepEqual(await listed(to, true, subject), []);
    for (const { tag } of cosign) assert.equal((await get(to, `manifests/${tag}`)).status, 404);
  });
});
