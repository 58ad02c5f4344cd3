import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Descriptor } from '../../../src/oci/descriptor.js';
import { digestOf, type Digest } from '../../../src/oci/digest.js';
import { ociEmpty, ociIndex, ociManifest } from '../../../src/oci/media-types.js';
import { referrersTag } from '../../../src/registry/api/referrers.js';
import type { Registry } from '../../../src/registry/registry.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { needs } from '../../support/peers.js';
import { testClient } from '../client.js';
import { content, opener, pushImage, smallImage, type Content } from '../content.js';
import { sendFault, sendJson, startOddServer } from '../odd-server.js';

const subject = smallImage('subject').index.descriptor;
const empty = content('{}', ociEmpty);

/** A referrer of `subject`, such as a signature. */
function referrer(name: string, of: Descriptor = subject): Content {
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifest,
    artifactType: `application/x.${name}`,
    config: empty.descriptor,
    layers: [empty.descriptor],
    subject: of,
    annotations: { name },
  };
  return content(JSON.stringify(manifest), ociManifest);
}

async function list(
  registry: Registry,
  name: { registry: string; repository: string },
  of: Digest,
): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  for await (const each of registry.referrers(name, of)) found.push(each);
  return found;
}

it('builds the fallback tag', () => {
  assert.equal(referrersTag(digestOf(Buffer.from('x'))), digestOf(Buffer.from('x')).replace(':', '-'));
  const long = digestOf(Buffer.from('x'), 'sha512');
  assert.equal(referrersTag(long), long.replace(':', '-').slice(0, 'sha512-'.length + 64));
});

async function api(
  t: TestContext,
): Promise<{ registry: Registry; name: { registry: string; repository: string } }> {
  const server = await startOddServer(t, (_request, response, url) => {
    const last = Number(url.searchParams.get('last') ?? 0);
    if (!url.pathname.includes('/referrers/')) sendFault(response, 404, 'MANIFEST_UNKNOWN');
    else {
      if (last < 2) response.setHeader('link', `<${url.pathname}?last=${last + 1}>; rel="next"`);
      sendJson(
        response,
        200,
        { schemaVersion: 2, mediaType: ociIndex, manifests: [referrer(`${last}`).descriptor] },
        ociIndex,
      );
    }
  });
  return { registry: testClient(t).registry, name: { registry: server.host, repository: 'a' } };
}

it('lists with the API, page by page', async (t) => {
  const { registry, name } = await api(t);
  const found = await list(registry, name, subject.digest);
  assert.deepEqual(
    found.map(({ digest }) => digest),
    ['0', '1', '2'].map((each) => referrer(each).descriptor.digest),
  );
});

it('skips malformed entries with a warning, and lists the others', async (t) => {
  const good = ['1', '2'].map((each) => referrer(each).descriptor);
  const bad = [{ mediaType: ociManifest, digest: 'sha256:short', size: 2 }, null];
  const listed = { schemaVersion: 2, mediaType: ociIndex, manifests: [good[0], ...bad, good[1]] };
  for (const byTag of [false, true]) {
    const server = await startOddServer(t, (_request, response, url) => {
      if (url.pathname.includes(byTag ? '/manifests/' : '/referrers/'))
        sendJson(response, 200, listed, ociIndex);
      else sendFault(response, 404, 'MANIFEST_UNKNOWN');
    });
    const { registry, warnings } = testClient(t);
    const found = await list(registry, { registry: server.host, repository: 'a' }, subject.digest);
    assert.deepEqual(
      found.map(({ digest }) => digest),
      good.map(({ digest }) => digest),
    );
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', /: skipped 2 malformed entries, first: parse .*\[1\]: .*"sha256:short"$/);
  }
});

it('stops at pages that lead back or to another host', async (t) => {
  for (const next of ['', 'http://127.0.0.2:1/']) {
    const server = await startOddServer(t, (_request, response, url) => {
      response.setHeader('link', `<${next}${url.pathname}>; rel="next"`);
      sendJson(response, 200, { schemaVersion: 2, mediaType: ociIndex, manifests: [] }, ociIndex);
    });
    const name = { registry: server.host, repository: 'a' };
    await assert.rejects(list(testClient(t).registry, name, subject.digest), { code: 'registry' });
    assert.equal(server.seen.length, 1);
  }
});

it('treats a response that is not an index as a missing API', async (t) => {
  for (const status of [200, 400, 405, 501]) {
    const server = await startOddServer(t, (_request, response, url) => {
      if (url.pathname.includes('/manifests/')) sendFault(response, 404, 'MANIFEST_UNKNOWN');
      else response.writeHead(status, { 'content-type': 'text/html' }).end('<html>');
    });
    const name = { registry: server.host, repository: 'a' };
    assert.deepEqual(await list(testClient(t).registry, name, subject.digest), []);
    assert.equal(server.seen.length, 2);
  }
});

it('treats rejections as an empty list, and reports faults after the entries of the fallback tag', async (t) => {
  for (const status of [400, 401, 403, 406, 410, 412, 422, 451, 501]) {
    const server = await startOddServer(t, (_request, response) => sendFault(response, status, 'DENIED'));
    const name = { registry: server.host, repository: 'a' };
    assert.deepEqual(await list(testClient(t).registry, name, subject.digest), []);
    assert.equal(server.seen.length, 2);
  }
  const one = referrer('one').descriptor;
  const index = { schemaVersion: 2, mediaType: ociIndex, manifests: [one] };
  for (const [status, code] of [
    [429, 'rate-limited'],
    [500, 'registry'],
  ] as const) {
    const server = await startOddServer(t, (_request, response, url) => {
      if (url.pathname.includes('/manifests/')) sendJson(response, 200, index, ociIndex);
      else sendFault(response, status, 'UNKNOWN');
    });
    const found: string[] = [];
    await assert.rejects(
      async () => {
        const name = { registry: server.host, repository: 'a' };
        for await (const { digest } of testClient(t).registry.referrers(name, subject.digest))
          found.push(digest);
      },
      { code, status },
    );
    assert.deepEqual(found, [one.digest]);
  }
});

it('reads a list whatever its media type', async (t) => {
  const one = referrer('one').descriptor;
  for (const [type, json, want] of [
    ['application/json', { schemaVersion: 2, manifests: [one] }, [one.digest]],
    ['text/plain', { schemaVersion: 2, mediaType: ociIndex, manifests: [one] }, [one.digest]],
    [ociIndex, { schemaVersion: 2, manifests: null }, []],
    [ociIndex, { schemaVersion: 2, manifests: [{ ...one, digest: subject.digest }] }, []],
    [ociIndex, { referrers: [one] }, []],
    [ociIndex, [one], []],
    ['text/html', { schemaVersion: 2, manifests: [one] }, []],
  ] as const) {
    const server = await startOddServer(t, (_request, response, url) => {
      if (url.pathname.includes('/manifests/')) sendFault(response, 404, 'MANIFEST_UNKNOWN');
      else sendJson(response, 200, json, type);
    });
    const found = await list(
      testClient(t).registry,
      { registry: server.host, repository: 'a' },
      subject.digest,
    );
    assert.deepEqual(
      found.map(({ digest }) => digest),
      want,
    );
  }
});

for (const hasApi of [true, false])
  it(`${hasApi ? 'leaves the list to a registry that maintains it' : 'maintains the list if a registry claims the API without having it'} (OCI-Subject)`, async (t) => {
    const server = await startOddServer(t, (request, response, url) => {
      request.resume().on('end', () => {
        if (request.method === 'PUT') response.writeHead(201, { 'oci-subject': subject.digest }).end();
        else if (hasApi && url.pathname.includes('/referrers/'))
          sendJson(response, 200, { schemaVersion: 2, mediaType: ociIndex, manifests: [] }, ociIndex);
        else sendFault(response, 404, 'NOT_FOUND');
      });
    });
    const { registry } = testClient(t);
    for (const { descriptor, bytes } of [referrer('one'), referrer('two')])
      await registry.push({ registry: server.host, repository: 'a' }, descriptor, opener(bytes));
    const lists = server.seen.filter(
      ({ method, url }) => method === 'PUT' && url.endsWith(referrersTag(subject.digest)),
    );
    assert.equal(lists.length, hasApi ? 0 : 2);
    assert.equal(server.seen.filter(({ url }) => url.includes('/referrers/')).length, 1);
  });

describe('with docker-registry, which maintains no list', { skip: needs('docker-registry') }, () => {
  it('maintains the list under the fallback tag, in any order of pushes', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const { registry } = testClient(t);
    const name = { registry: server.host, repository: 'a/b' };
    const image = smallImage('subject');
    await pushImage(registry, name, '1', image);
    await registry.push(name, empty.descriptor, opener(empty.bytes));
    const signatures = ['one', 'two', 'three', 'four'].map((each) => referrer(each));
    await Promise.all(
      signatures.map(({ descriptor, bytes }) => registry.push(name, descriptor, opener(bytes))),
    );
    const [first] = signatures;
    if (first !== undefined) await registry.push(name, first.descriptor, opener(first.bytes));
    const found = await list(registry, name, subject.digest);
    assert.deepEqual(
      found.map(({ digest }) => digest).sort(),
      signatures.map(({ descriptor }) => descriptor.digest).sort(),
    );
    assert.deepEqual(
      found.map(({ artifactType, annotations }) => [artifactType, annotations?.['name']]).sort(),
      [
        ['application/x.four', 'four'],
        ['application/x.one', 'one'],
        ['application/x.three', 'three'],
        ['application/x.two', 'two'],
      ],
    );
  });

  it('does not overwrite a tag that is not a list, and warns', async (t) => {
    const server = await startDockerRegistry();
    t.after(() => server.stop());
    const { registry, warnings } = testClient(t);
    const name = { registry: server.host, repository: 'a/b' };
    const image = smallImage('subject');
    await pushImage(registry, name, '1', image);
    await registry.tag(
      { ...name, tag: referrersTag(subject.digest) },
      image.manifest.descriptor,
      opener(image.manifest.bytes),
    );
    await registry.push(name, empty.descriptor, opener(empty.bytes));
    const { descriptor, bytes } = referrer('one');
    await registry.push(name, descriptor, opener(bytes));
    assert.match(warnings.join('\n'), /^.*is not a list of referrers.*$/);
    const held = await registry.resolve({ ...name, tag: referrersTag(subject.digest) });
    assert.equal(held.digest, image.manifest.descriptor.digest);
    assert.equal((await registry.resolve({ ...name, digest: descriptor.digest })).size, descriptor.size);
  });
});
