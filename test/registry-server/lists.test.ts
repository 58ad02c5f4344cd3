import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ociEmpty, ociIndex } from '../../src/oci/media-types.js';
import {
  errorCode,
  imageOf,
  pushBlob,
  pushManifest,
  startRegistry,
  type BuiltManifest,
  type RunningRegistry,
} from './fixture.js';

interface Listed {
  readonly status: number;
  readonly link: string | null;
  readonly body: { repositories?: string[]; tags?: string[]; manifests?: { digest: string }[] };
  readonly headers: Headers;
}

async function list(registry: RunningRegistry, path: string): Promise<Listed> {
  const response = await registry.ask('GET', path);
  const body = (await response.json()) as Listed['body'];
  return { status: response.status, link: response.headers.get('link'), body, headers: response.headers };
}

/** Follows the links to the end. */
async function pages(registry: RunningRegistry, first: string): Promise<Listed['body'][]> {
  const found: Listed['body'][] = [];
  for (let path: string | undefined = first; path !== undefined;) {
    const page = await list(registry, path);
    assert.equal(page.status, 200, path);
    found.push(page.body);
    path = /^<([^>]+)>; rel="next"$/.exec(page.link ?? '')?.[1];
  }
  return found;
}

test('tags are listed in order and in pages', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'acme/api', 'x');
  for (const tag of ['v2', 'V1', '1.0', 'latest', '_x', 'v10'])
    await pushManifest(registry, 'acme/api', tag, image);
  const sorted = ['1.0', 'V1', '_x', 'latest', 'v10', 'v2'];
  const path = 'acme/api/tags/list';
  assert.deepEqual((await list(registry, path)).body, { name: 'acme/api', tags: sorted });
  const all = await pages(registry, `${path}?n=4`);
  assert.deepEqual(
    all.map((page) => page.tags),
    [sorted.slice(0, 4), sorted.slice(4)],
  );
  assert.equal((await pages(registry, `${path}?n=6`)).length, 1);
  assert.deepEqual((await list(registry, `${path}?last=V1`)).body.tags, sorted.slice(2));
  assert.deepEqual((await list(registry, `${path}?n=1&last=W`)).body.tags, ['_x']);
  const none = await list(registry, `${path}?n=0`);
  assert.deepEqual(none.body.tags, []);
  assert.equal(none.link, null);
  assert.equal(await errorCode(await registry.ask('GET', `${path}?n=-1`)), 'PAGINATION_NUMBER_INVALID');
  assert.equal(await errorCode(await registry.ask('GET', 'acme/none/tags/list')), 'NAME_UNKNOWN');
});

test('repositories are listed in the order of their paths and in pages', async (t) => {
  const registry = await startRegistry(t);
  const names = ['a', 'a-b/c', 'a.b', 'a/b', 'a/b/c', 'a/b0', 'a0', 'b/only/deep', 'library/busybox', 'z'];
  for (const name of [...names].reverse()) {
    await pushManifest(registry, name, 'latest', await imageOf(registry, name, 'x'));
  }
  await pushBlob(registry, 'blobs/only', Buffer.from('no manifest'));
  const sorted = [...names].sort();
  assert.deepEqual((await list(registry, '_catalog')).body.repositories, sorted);
  for (const n of [1, 2, 3, 7]) {
    const all = await pages(registry, `_catalog?n=${n}`);
    assert.deepEqual(
      all.flatMap((page) => page.repositories ?? []),
      sorted,
    );
    assert.equal(all.length, Math.ceil(sorted.length / n));
  }
  assert.deepEqual((await list(registry, '_catalog?n=2&last=a/b/b')).body.repositories, ['a/b/c', 'a/b0']);
  assert.deepEqual((await list(registry, '_catalog?n=1&last=zz')).body.repositories, []);
});

async function referrerOf(
  registry: RunningRegistry,
  subject: BuiltManifest,
  name: string,
  more: object = {},
  repository = 'acme/api',
): Promise<BuiltManifest> {
  const { mediaType, digest, bytes } = subject;
  const fields = { subject: { mediaType, digest, size: bytes.length }, ...more };
  const referrer = await imageOf(registry, repository, name, fields);
  const pushed = await pushManifest(registry, repository, referrer.digest, referrer);
  assert.equal(pushed.status, 201);
  assert.equal(pushed.headers.get('oci-subject'), subject.digest);
  return referrer;
}

test('referrers are listed with type and annotations, filtered on request, and not after they are deleted', async (t) => {
  const registry = await startRegistry(t);
  const subject = await imageOf(registry, 'acme/api', 'subject');
  const path = `acme/api/referrers/${subject.digest}`;
  const none = await list(registry, path);
  assert.equal(none.headers.get('content-type'), ociIndex);
  assert.deepEqual(none.body, { schemaVersion: 2, mediaType: ociIndex, manifests: [] });
  const signature = await referrerOf(registry, subject, 'signature', {
    artifactType: 'application/vnd.example.signature',
    annotations: { 'org.example.note': 'signed' },
  });
  const plain = await referrerOf(registry, subject, 'plain');
  const described = [
    {
      mediaType: signature.mediaType,
      digest: signature.digest,
      size: signature.bytes.length,
      artifactType: 'application/vnd.example.signature',
      annotations: { 'org.example.note': 'signed' },
    },
    {
      mediaType: plain.mediaType,
      digest: plain.digest,
      size: plain.bytes.length,
      artifactType: 'application/vnd.oci.image.config.v1+json',
    },
  ].sort((a, b) => (a.digest < b.digest ? -1 : 1));
  const both = await list(registry, path);
  assert.deepEqual(both.body.manifests, described);
  assert.equal(both.headers.get('oci-filters-applied'), null);
  const filtered = await list(registry, `${path}?artifactType=application/vnd.example.signature`);
  assert.deepEqual(
    filtered.body.manifests?.map(({ digest }) => digest),
    [signature.digest],
  );
  assert.equal(filtered.headers.get('oci-filters-applied'), 'artifactType');
  assert.equal((await registry.ask('DELETE', `acme/api/manifests/${signature.digest}`)).status, 202);
  assert.deepEqual(
    (await list(registry, path)).body.manifests?.map(({ digest }) => digest),
    [plain.digest],
  );
  assert.equal(await errorCode(await registry.ask('GET', 'acme/api/referrers/latest')), 'DIGEST_INVALID');
});

test('a mirror finds referrers with and without the name of the registry in front', async (t) => {
  const registry = await startRegistry(t);
  const digests = async (path: string): Promise<string[] | undefined> =>
    (await list(registry, path)).body.manifests?.map(({ digest }) => digest);
  const plain = await imageOf(registry, 'acme/api', 'subject');
  const path = `acme/api/referrers/${plain.digest}`;
  const signature = await referrerOf(registry, plain, 'signature');
  assert.deepEqual(await digests(`${path}?ns=docker.io`), [signature.digest]);
  const named = await imageOf(registry, 'docker.io/acme/api', 'subject');
  const other = await referrerOf(registry, named, 'other', {}, 'docker.io/acme/api');
  assert.equal(named.digest, plain.digest);
  assert.deepEqual(await digests(`${path}?ns=docker.io`), [other.digest]);
  assert.deepEqual(await digests(`${path}?ns=quay.io`), [signature.digest]);
});

test('a long list of referrers comes in pages', async (t) => {
  const registry = await startRegistry(t);
  const subject = await imageOf(registry, 'acme/api', 'subject');
  const pushed: string[] = [];
  for (let n = 0; n < 5; n++) {
    const more = { artifactType: ociEmpty, annotations: { long: `${n}`.repeat(900_000) } };
    pushed.push((await referrerOf(registry, subject, `r${n}`, more)).digest);
  }
  const all = await pages(
    registry,
    `acme/api/referrers/${subject.digest}?artifactType=${encodeURIComponent(ociEmpty)}`,
  );
  assert.ok(all.length > 1);
  for (const page of all) assert.ok(JSON.stringify(page).length < 4 * 1024 * 1024);
  assert.deepEqual(
    all.flatMap((page) => page.manifests ?? []).map(({ digest }) => digest),
    pushed.sort(),
  );
});
