import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { suite, test, type TestContext } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { importImages, type ImportOptions } from '../../src/import/import.js';
import type { RequestTrace } from '../../src/registry/registry.js';
import { parseRenameRule } from '../../src/site/rename.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { elfFile } from '../support/elf.js';
import { failing, startFaultProxy } from '../support/faults.js';
import { imageOf, layer } from '../support/images.js';
import { needs } from '../support/peers.js';
import { askRegistry } from '../support/registry-http.js';
import { savedMembers } from '../support/saved.js';
import { tarOf } from '../support/tar.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';
import { walkRegistry } from '../support/walk.js';

/** Returns a `docker save` archive with one image, whose layer names it and its platform. */
function archiveOf(name: string, platform = 'linux/amd64'): Buffer {
  const program = elfFile(platform, `\n${name} for ${platform}\n`);
  const layers = [layer([{ name: 'bin/app', content: program, mode: 0o755 }], { compression: 'none' })];
  return tarOf(savedMembers('docker-20', [{ tags: [name], image: imageOf({ platform, layers }) }]));
}

async function written(dir: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, bytes);
  return path;
}

async function startRegistry(t: TestContext): Promise<string> {
  const registry = await startDockerRegistry();
  t.after(() => registry.stop());
  return registry.host;
}

async function statusOf(host: string, path: string): Promise<number> {
  return (await askRegistry(host, { method: 'GET', path })).status;
}

/** Imports, and returns the requests that changed the registry. */
async function changesOf(host: string, options: Partial<ImportOptions>): Promise<string[]> {
  const changes: string[] = [];
  const trace = ({ method, url }: RequestTrace): void => {
    if (method !== 'GET' && method !== 'HEAD') changes.push(`${method} ${new URL(url).pathname}`);
  };
  await importImages({ inputs: [], to: { registry: host }, registry: {}, hooks: { trace }, ...options });
  return changes;
}

/** Returns the repositories that requests name. */
function repositoriesOf(changes: readonly string[]): string[] {
  const names = changes.map((change) => /\/v2\/(.+)\/(?:blobs|manifests)\//.exec(change)?.[1] ?? change);
  return [...new Set(names)].sort();
}

suite('layers pushed while archives are read', { skip: needs('docker-registry'), timeout: 120_000 }, () => {
  test('layers arrive before the next archive is read, manifests and tags after all of them', async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const first = await written(dir, 'first.tar', archiveOf('team/first:1'));
    const requests: string[] = [];
    const trace = ({ method, url }: RequestTrace): void =>
      void requests.push(`${method} ${new URL(url).pathname}`);
    const isStored = (request: string): boolean => request.startsWith('PUT /v2/team/first/blobs/uploads/');
    async function* second(): AsyncGenerator<Buffer> {
      const tar = archiveOf('team/second:1');
      // Whether standard input is a bundle decides before anything is opened.
      yield tar.subarray(0, 512);
      await until('a layer of the first archive', () => requests.some(isStored));
      assert.deepEqual(
        requests.filter((request) => request.includes('/manifests/')),
        [],
      );
      assert.equal(await statusOf(host, '/v2/team/first/tags/list'), 404);
      yield tar.subarray(512);
    }
    const { published, uploadedBlobs } = await importImages({
      inputs: [first, '-'],
      to: { registry: host },
      registry: {},
      hooks: { trace },
      archives: { stdin: Readable.from(second(), { objectMode: false }), tmpDir: dir },
    });
    assert.deepEqual(published.map(({ target }) => target).sort(), [
      `${host}/team/first:1`,
      `${host}/team/second:1`,
    ]);
    // A layer and a config of each image, each once.
    assert.equal(uploadedBlobs, 4);
    assert.equal(
      requests.filter((request) => request.startsWith('PUT ') && !request.includes('/manifests/')).length,
      4,
    );
    for (const name of ['first', 'second']) await walkRegistry(host, `team/${name}`, '1');
  });

  test('they go to the renamed repository only', async (t) => {
    const host = await startRegistry(t);
    const path = await written(temp(t), 'app.tar', archiveOf('team/app:1'));
    const to = { registry: host, prefix: 'mirror', rules: [parseRenameRule('docker.io/team/*=vendor/*')] };
    assert.deepEqual(repositoriesOf(await changesOf(host, { inputs: [path], to })), ['mirror/vendor/app']);
  });

  test('with rules that merge names they go to the merged name only', async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const inputs = [
      await written(dir, 'a.tar', archiveOf('team/app-amd64:1', 'linux/amd64')),
      await written(dir, 'b.tar', archiveOf('team/app-arm64:1', 'linux/arm64')),
    ];
    const archives = { mergeNames: ['*-{arch}:{tag}=*:{tag}'] };
    assert.deepEqual(repositoriesOf(await changesOf(host, { inputs, archives })), ['team/app']);
  });

  test('podman’s local images go to the name of docker’s image that they complete', async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const inputs = [
      await written(dir, 'podman.tar', archiveOf('localhost/app:1', 'linux/arm64')),
      await written(dir, 'docker.tar', archiveOf('app:1', 'linux/amd64')),
    ];
    assert.deepEqual(repositoriesOf(await changesOf(host, { inputs })), ['library/app']);
  });

  test('nothing of an image is pushed if the policy keeps the existing tag', async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const old = await written(dir, 'old.tar', archiveOf('team/app:1', 'linux/amd64'));
    const path = await written(dir, 'new.tar', archiveOf('team/app:1', 'linux/arm64'));
    await changesOf(host, { inputs: [old] });
    assert.deepEqual(await changesOf(host, { inputs: [path], onExistingTag: 'skip' }), []);
    const changes: string[] = [];
    const trace = ({ method }: RequestTrace): void => void (/GET|HEAD/.test(method) || changes.push(method));
    const options = { to: { registry: host }, registry: {}, hooks: { trace } };
    await assert.rejects(importImages({ ...options, inputs: [path], onExistingTag: 'error' }), (error) =>
      isAirliftError(error, 'exists'),
    );
    assert.deepEqual(changes, []);
  });

  test('a refusal names the image, and the run ends with that error', async (t) => {
    const host = await startRegistry(t);
    const path = await written(temp(t), 'app.tar', archiveOf('team/app:1'));
    const proxy = await startFaultProxy({
      upstream: `http://${host}`,
      rules: [{ method: 'POST', path: /\/blobs\/uploads\//, fault: failing(403) }],
    });
    t.after(() => proxy.stop());
    await assert.rejects(
      importImages({ inputs: [path], to: { registry: proxy.host }, registry: {} }),
      (error) => {
        assert.ok(isAirliftError(error, 'denied'), String(error));
        assert.match(error.message, /team\/app/);
        return true;
      },
    );
  });

  test('an archive that cannot be opened ends the reading of the others', async (t) => {
    const dir = temp(t);
    const host = await startRegistry(t);
    const first = await written(dir, 'first.tar', archiveOf('team/first:1'));
    const missing = join(dir, 'missing.tar');
    await assert.rejects(
      importImages({ inputs: [first, missing], to: { registry: host }, registry: {} }),
      (error) => isAirliftError(error, 'not-found') && error.message.includes(missing),
    );
    assert.equal(await statusOf(host, '/v2/team/first/tags/list'), 404);
  });
});
