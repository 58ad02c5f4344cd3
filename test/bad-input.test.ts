import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  closeSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from './support/airlift.js';
import { bytesOf } from './support/content.js';
import { startDockerRegistry, type DockerRegistry } from './support/docker-registry.js';
import { multiPlatform } from './support/image-sets.js';
import { needs, run } from './support/peers.js';
import { pushImage } from './support/push-image.js';
import { askRegistry } from './support/registry-http.js';
import { temp, type Cleanup } from './support/temp.js';

const image = multiPlatform({ name: 'bad', platforms: ['linux/amd64', 'linux/arm64'], bigBytes: 300_000 });
const layer = [...image.blobs.values()].reduce((a, b) => (b.size > a.size ? b : a));

/** Sends a wrong response to one request; returns false if the registry should respond. */
type Odd = (path: string, response: ServerResponse, method: string) => boolean;

/** Starts a registry with one image, `acme/app:1`, and one kind of wrong response. */
async function startOddRegistry(t: Cleanup, odd: Odd): Promise<string> {
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    if (odd(path, response, request.method ?? '')) return;
    const name = /\/(?:manifests|blobs)\/([^?]+)/.exec(path)?.[1] ?? '';
    const digest = name === '1' ? image.root.digest : name;
    const manifest = [...image.manifests.values()].find((item) => item.digest === digest);
    const content = manifest ?? [...image.blobs.values()].find((item) => item.digest === digest);
    if (content === undefined) {
      response.writeHead(path === '/v2/' ? 200 : 404, { 'content-type': 'application/json' });
      response.end(path === '/v2/' ? '{}' : '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}');
      return;
    }
    const bytes = bytesOf(content);
    response.writeHead(200, {
      'content-type': manifest?.mediaType ?? 'application/octet-stream',
      'content-length': bytes.length,
      'docker-content-digest': content.digest,
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => new Promise<void>((done) => void server.close(() => done()).closeAllConnections()));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const isLayer = (path: string): boolean => path.includes(`/blobs/${layer.digest}`);
const isTag = (path: string): boolean => path.includes('/manifests/1');

interface ExportCase {
  readonly name: string;
  readonly odd: Odd;
  readonly message: RegExp;
  readonly args?: readonly string[];
  readonly reference?: string;
}

const exportCases: readonly ExportCase[] = [
  {
    name: 'missing tag',
    odd: () => false,
    reference: 'acme/app:2',
    message: /resolve 127\.0\.0\.1:\d+\/acme\/app:2: manifest not found \(404 MANIFEST_UNKNOWN\)/,
  },
  {
    name: 'missing platform',
    odd: () => false,
    args: ['--platform', 'linux/amd64,linux/s390x'],
    message:
      /platform missing; got linux\/amd64, linux\/arm64, want linux\/s390x\n {2}hint: --skip-missing-platforms/,
  },
  {
    name: 'lie about a size',
    odd: (path, response, method) => {
      if (!isLayer(path)) return false;
      response.writeHead(200, { 'content-length': layer.size + 1 });
      response.end(method === 'HEAD' ? undefined : Buffer.concat([bytesOf(layer), Buffer.alloc(1)]));
      return true;
    },
    message: new RegExp(`${layer.digest}.*got (at least )?${layer.size + 1}( bytes)?, want ${layer.size}`),
  },
  {
    name: 'lie about a digest',
    odd: (path, response, method) => {
      if (!isLayer(path)) return false;
      const bytes = bytesOf(layer);
      bytes[1000] = (bytes[1000] ?? 0) ^ 1;
      response.writeHead(200, { 'content-length': bytes.length });
      response.end(method === 'HEAD' ? undefined : bytes);
      return true;
    },
    message: new RegExp(
      `digest mismatch after ${layer.size} bytes; got sha256:[0-9a-f]{64}, want ${layer.digest}`,
    ),
  },
  {
    name: 'truncated response',
    odd: (path, response, method) => {
      if (!isLayer(path)) return false;
      response.writeHead(200, { 'content-length': layer.size });
      if (method === 'HEAD') response.end();
      else response.write(bytesOf(layer).subarray(0, 100), () => response.destroy());
      return true;
    },
    args: ['--retries', '1'],
    message: new RegExp(layer.digest),
  },
  {
    name: 'HTML instead of a manifest',
    odd: (path, response, method) => {
      if (!isTag(path)) return false;
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end(method === 'HEAD' ? undefined : '<!DOCTYPE html><html>Sign in</html>');
      return true;
    },
    message: /HTML|text\/html/,
  },
  {
    name: 'manifest over 4 MiB',
    odd: (path, response, method) => {
      if (!isTag(path)) return false;
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.index.v1+json' });
      response.end(method === 'HEAD' ? undefined : Buffer.alloc(5 * 1024 * 1024, 32));
      return true;
    },
    message: /4194304/,
  },
  {
    name: 'Docker schema 1',
    odd: (path, response, method) => {
      if (!isTag(path)) return false;
      response.writeHead(200, {
        'content-type': 'application/vnd.docker.distribution.manifest.v1+prettyjws',
      });
      response.end(method === 'HEAD' ? undefined : '{"schemaVersion":1,"name":"acme/app","fsLayers":[]}');
      return true;
    },
    message: /schema 1/,
  },
];

describe('export from a registry that is odd', () => {
  for (const { name, odd, message, args = [], reference = 'acme/app:1' } of exportCases) {
    test(name, async (t) => {
      const dir = temp(t);
      const host = await startOddRegistry(t, odd);
      const output = join(dir, 'site.tar');
      const { stderr } = await airlift(
        ['export', `${host}/${reference}`, '-o', output, '--no-referrers', ...args],
        { codes: [1] },
      );
      assert.match(stderr, message);
      assert.ok(!existsSync(output), 'nothing under the final name');
    });
  }

  test('of several images every one that fails is named, and nothing is written', async (t) => {
    const dir = temp(t);
    const host = await startOddRegistry(t, () => false);
    const names = ['acme/app:1', 'acme/app:2', 'acme/none:3'].map((name) => `${host}/${name}`);
    const { stderr } = await airlift(['export', ...names, '-o', join(dir, 'site.tar')], { codes: [1] });
    assert.match(stderr, /acme\/app:2: manifest not found/);
    assert.match(stderr, /acme\/none:3: manifest not found/);
    assert.deepEqual(readdirSync(dir), []);
  });

  test('--keep-going exports the others and ends with 3', async (t) => {
    const dir = temp(t);
    const host = await startOddRegistry(t, () => false);
    const output = join(dir, 'site.tar');
    const { stdout } = await airlift(
      ['export', `${host}/acme/app:1`, `${host}/acme/app:2`, '-k', '-o', output],
      { codes: [3] },
    );
    assert.match(stdout, /failed: .*acme\/app:2/);
    await airlift(['verify', output]);
  });
});

describe('import of a bundle that is damaged', { skip: needs('docker-registry', 'tar') }, () => {
  let source: DockerRegistry;
  let target: DockerRegistry;
  const dirs: (() => void)[] = [];
  let good = '';

  before(async () => {
    [source, target] = await Promise.all([startDockerRegistry(), startDockerRegistry()]);
    await pushImage(source.host, 'acme/app', '1', image);
    good = join(temp({ after: (end) => void dirs.push(end as () => void) }), 'good.tar');
    await airlift(['export', `${source.host}/acme/app:1`, '-o', good]);
  });
  after(async () => {
    await Promise.all([source?.stop(), target?.stop()]);
    for (const end of dirs) end();
  });

  /** Returns the offset of an entry's header in the bundle, computed from GNU tar's block numbers. */
  async function positionOf(entry: string): Promise<number> {
    const { stdout } = await run('tar', ['--block-number', '-tf', good]);
    const line = stdout.split('\n').find((text) => text.endsWith(entry)) ?? assert.fail(`no ${entry}`);
    return Number(/^block (\d+):/.exec(line)?.[1]) * 512;
  }

  function flip(path: string, position: number): void {
    const file = openSync(path, 'r+');
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, position);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    writeSync(file, byte, 0, 1, position);
    closeSync(file);
  }

  const blob = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
  const damages: Readonly<Record<string, (path: string) => Promise<void> | void>> = {
    'cut off': (path) => truncateSync(path, readFileSync(path).length - 200_000),
    'cut off in its head': (path) => truncateSync(path, 1500),
    'a flipped byte in a layer': async (path) =>
      flip(path, (await positionOf(blob(layer.digest))) + 512 + 5000),
    'a flipped byte in the index': async (path) =>
      flip(path, (await positionOf(blob(image.root.digest))) + 512 + 20),
    'a flipped byte in the catalog': async (path) =>
      flip(path, (await positionOf('airlift/catalog.db')) + 512 + 5000),
    'a flipped byte in a header': async (path) => flip(path, (await positionOf(blob(layer.digest))) + 3),
    'not a tar at all': (path) => writeFileSync(path, 'hello, I am a text'),
    empty: (path) => writeFileSync(path, ''),
  };

  async function assertNoTag(): Promise<void> {
    const { status } = await askRegistry(target.host, { method: 'GET', path: '/v2/acme/app/manifests/1' });
    assert.equal(status, 404, 'no tag on the target');
  }

  for (const [name, damage] of Object.entries(damages)) {
    test(name, async (t) => {
      const path = join(temp(t), 'site.tar');
      copyFileSync(good, path);
      await damage(path);
      const verified = await airlift(['verify', path], { codes: [1, 4] });
      assert.match(`${verified.stdout}${verified.stderr}`, /site\.tar|sha256:/);
      // An import does not read these headers: it finds content with the catalog, and verifies all content that it publishes.
      if (name !== 'a flipped byte in a header') {
        const { stderr } = await airlift(['import', path, '--to', target.host], { codes: [1, 4] });
        assert.match(stderr, /site\.tar|sha256:/);
        await assertNoTag();
      }
    });
  }

  test('unreachable target', async () => {
    const { stderr } = await airlift(['import', good, '--to', '127.0.0.1:1', '--retries', '0'], {
      codes: [1],
    });
    assert.match(stderr, /127\.0\.0\.1:1/);
    assert.match(stderr, /refused/);
  });

  test('read-only target', async (t) => {
    const readOnly = await startDockerRegistry({ readOnly: true });
    t.after(() => readOnly.stop());
    const { stderr } = await airlift(['import', good, '--to', readOnly.host], { codes: [1] });
    assert.match(stderr, /push to .*405/);
  });
});
