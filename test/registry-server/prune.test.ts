import assert from 'node:assert/strict';
import { readdir, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { isAirliftError } from '../../src/errors.js';
import { pruneStore } from '../../src/registry-server/prune.js';
import { airlift } from '../support/airlift.js';
import { layoutMembers } from '../support/saved.js';
import { multiPlatform } from '../support/image-sets.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';
import { walkRegistry } from '../support/walk.js';
import {
  asker,
  built,
  imageOf,
  indexOf,
  pushBlob,
  pushManifest,
  startRegistry,
  type BuiltManifest,
  type RunningRegistry,
} from './fixture.js';
import { startServerProcess } from './process.js';
import { startPruning } from './prune-process.js';

/** Lists all files below a directory. */
async function filesIn(directory: string): Promise<string[]> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Makes all files of a store two days old; with `folders`, these too. */
async function age(directory: string, folders = false): Promise<void> {
  const then = new Date(Date.now() - 48 * 3600 * 1000);
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = found.map((entry) => join(entry.parentPath, entry.name));
  for (const path of folders ? paths : await filesIn(directory)) {
    // A prune that runs meanwhile may remove it.
    await utimes(path, then, then).catch(() => undefined);
  }
}

async function status(registry: RunningRegistry, path: string): Promise<number> {
  const response = await registry.ask('GET', path);
  await response.arrayBuffer();
  return response.status;
}

async function pushTagged(
  registry: RunningRegistry,
  repository: string,
  tag: string,
  image: BuiltManifest,
): Promise<void> {
  assert.equal((await pushManifest(registry, repository, tag, image)).status, 201);
}

test('what no tag reaches is removed, and everything else stays', async (t) => {
  const registry = await startRegistry(t, { allowSparse: true });
  const { directory } = registry;
  const old = await imageOf(registry, 'acme/api', 'old');
  await pushTagged(registry, 'acme/api', '1', old);
  const [amd, arm] = [await imageOf(registry, 'acme/api', 'amd'), await imageOf(registry, 'acme/api', 'arm')];
  await pushTagged(registry, 'acme/api', amd.digest, amd);
  await pushTagged(registry, 'acme/api', arm.digest, arm);
  await pushTagged(registry, 'acme/api', '1', indexOf([amd, arm]));
  // The publisher's index of a filtered image: one of its platforms is not here. Pins use its digest.
  const far = built({ schemaVersion: 2, mediaType: amd.mediaType, far: true });
  const original = indexOf([amd, far]);
  await pushTagged(registry, 'acme/api', original.digest, original);
  // An older version of the index that shares a platform with the new one.
  const before = indexOf([old, arm]);
  await pushTagged(registry, 'acme/api', before.digest, before);
  const subject = (image: BuiltManifest): object => ({
    subject: { mediaType: image.mediaType, digest: image.digest, size: image.bytes.length },
  });
  const kept = await imageOf(registry, 'acme/api', 'signature of arm', subject(arm));
  const lost = await imageOf(registry, 'acme/api', 'signature of old', subject(old));
  for (const referrer of [kept, lost]) await pushTagged(registry, 'acme/api', referrer.digest, referrer);
  // Another repository still uses the old image's layer.
  const again = await imageOf(registry, 'acme/other', 'old');
  await pushTagged(registry, 'acme/other', '1', again);
  await imageOf(registry, 'acme/gone', 'gone');
  await age(directory, true);
  const young = await pushBlob(registry, 'acme/api', Buffer.from('pushed just now, its manifest follows'));

  const files = await filesIn(directory);
  const planned = await pruneStore(directory, { dryRun: true });
  assert.deepEqual(await filesIn(directory), files);
  const removed: string[] = [];
  const summary = await pruneStore(directory, { onManifest: (name) => removed.push(name) });
  assert.deepEqual(summary, planned);
  assert.deepEqual(removed.sort(), [old, before, lost].map(({ digest }) => `acme/api@${digest}`).sort());
  await walkRegistry(new URL(registry.url).host, 'acme/api', '1');
  await walkRegistry(new URL(registry.url).host, 'acme/other', '1');
  const expected: [string, number][] = [
    [`acme/api/manifests/${original.digest}`, 200],
    [`acme/api/manifests/${kept.digest}`, 200],
    [`acme/api/manifests/${old.digest}`, 404],
    [`acme/api/manifests/${before.digest}`, 404],
    [`acme/api/manifests/${lost.digest}`, 404],
    [`acme/api/blobs/${digestOf(Buffer.from('layer of old'))}`, 404],
    [`acme/other/blobs/${digestOf(Buffer.from('layer of old'))}`, 200],
    [`acme/api/blobs/${digestOf(Buffer.from('layer of signature of old'))}`, 404],
    [`acme/api/blobs/${young}`, 200],
  ];
  for (const [path, want] of expected) assert.equal(await status(registry, path), want, path);
  const list = await registry.ask('GET', `acme/api/referrers/${arm.digest}`);
  assert.equal(((await list.json()) as { manifests: unknown[] }).manifests.length, 1);
  const left = (await readdir(directory, { recursive: true })).join('\n');
  assert.ok(!left.includes('acme/gone'), left);
  assert.ok(!left.includes(`acme/api/_referrers/sha256-${old.digest.slice(7)}`), left);
  const again2 = await pruneStore(directory);
  assert.deepEqual([again2.manifests, again2.blobs], [0, 0]);
});

test('other directories are refused, and a damaged manifest ends it before anything is removed', async (t) => {
  const layout = temp(t);
  for (const { name, content } of layoutMembers([{ name: 'x:1', image: multiPlatform({ name: 'x' }) }])) {
    if (content === undefined || name.includes('blobs/')) continue;
    await writeFile(join(layout, name), content);
  }
  for (const path of [layout, join(layout, 'index.json'), join(layout, 'none')])
    await assert.rejects(pruneStore(path), (error) => isAirliftError(error, 'input', 'not-found'), path);
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'a', 'x');
  await pushTagged(registry, 'a', '1', image);
  await pushBlob(registry, 'a', Buffer.from('garbage'));
  await age(registry.directory);
  const path = join(registry.directory, 'blobs', 'sha256', image.digest.slice(7));
  await writeFile(path, 'damage');
  const files = await filesIn(registry.directory);
  await assert.rejects(pruneStore(registry.directory, { minAge: 0 }), /cannot be read.*nothing was removed/);
  assert.deepEqual(await filesIn(registry.directory), files);
});

test('content that a HEAD or a mount has found survives the next prune', async (t) => {
  const registry = await startRegistry(t, { allowSparse: true });
  const image = await imageOf(registry, 'a', 'x');
  await pushTagged(registry, 'a', image.digest, image);
  await age(registry.directory);
  // As an import does: it finds the manifest by its digest and pushes the index only.
  assert.equal((await registry.ask('HEAD', `a/manifests/${image.digest}`)).status, 200);
  assert.equal((await pruneStore(registry.directory)).manifests, 0);
  await pushTagged(registry, 'a', '1', indexOf([image]));
  await walkRegistry(new URL(registry.url).host, 'a', '1');
  const blob = await pushBlob(registry, 'a', Buffer.from('lonely'));
  await age(registry.directory);
  assert.equal((await registry.ask('HEAD', `a/blobs/${blob}`)).status, 200);
  assert.equal((await pruneStore(registry.directory)).blobs, 0);
  await age(registry.directory);
  const mounted = await registry.ask('POST', `b/blobs/uploads/?mount=${blob}&from=a`);
  assert.equal(mounted.status, 201);
  await pruneStore(registry.directory);
  assert.equal(await status(registry, `b/blobs/${blob}`), 200);
  assert.equal(await status(registry, `a/blobs/${blob}`), 404);
});

test('a file that a killed prune was removing is found again', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'a', 'x');
  await pushTagged(registry, 'a', '1', image);
  // A prune that is killed after the rename leaves a file like this.
  for (const path of await filesIn(registry.directory))
    if (!path.includes('_tags')) await rename(path, `${path}.collected`);
  await walkRegistry(new URL(registry.url).host, 'a', '1');
  for (const path of await filesIn(join(registry.directory, 'blobs')))
    await rename(path, `${path}.collected`);
  await pruneStore(registry.directory);
  await walkRegistry(new URL(registry.url).host, 'a', '1');
  assert.ok((await filesIn(registry.directory)).every((path) => !path.endsWith('.collected')));
});

test(
  'pushes beside a prune that is killed again and again are complete',
  { timeout: 240_000 },
  async (t: TestContext) => {
    const directory = join(temp(t), 'store');
    const server = await startServerProcess(directory);
    t.after(() => server.kill());
    const registry: RunningRegistry = { url: server.url, directory, ask: asker(server.url) };
    await imageOf(registry, 'a', 'first');
    let pruning = startPruning(directory);
    t.after(() => pruning.kill());
    let kills = 0;
    for (let round = 0; round < 60; round++) {
      // Content of the round before is old and has no tag: the prune removes it while it is pushed again.
      const images: BuiltManifest[] = [];
      for (const text of ['one', 'two', 'three', `round ${round % 3}`]) {
        const blobs = [`layer of ${text}`, JSON.stringify({ os: 'linux', architecture: 'amd64', text })];
        const image = built({
          schemaVersion: 2,
          mediaType: 'application/vnd.oci.image.manifest.v1+json',
          config: descriptorOf('application/vnd.oci.image.config.v1+json', blobs[1] ?? ''),
          layers: [descriptorOf('application/vnd.oci.image.layer.v1.tar', blobs[0] ?? '')],
        });
        for (const blob of blobs) {
          const found = await registry.ask('HEAD', `a/blobs/${digestOf(Buffer.from(blob))}`);
          if (found.status === 404) await pushBlob(registry, 'a', Buffer.from(blob));
        }
        const found = await registry.ask('HEAD', `a/manifests/${image.digest}`);
        if (found.status === 404) await pushTagged(registry, 'a', image.digest, image);
        images.push(image);
      }
      const pushed = await pushManifest(registry, 'a', 'tag', indexOf(images));
      assert.equal(pushed.status, 201, `round ${round}`);
      await walkRegistry(new URL(registry.url).host, 'a', 'tag');
      if (round % 4 === 3) {
        await pruning.kill();
        kills++;
        // Whatever it was doing: the image is whole.
        await walkRegistry(new URL(registry.url).host, 'a', 'tag');
        pruning = startPruning(directory);
      }
      const before = pruning.runs();
      await registry.ask('DELETE', 'a/manifests/tag');
      await age(directory);
      // Every other round begins while the prune removes the content.
      if (round % 2 === 0) await until('a prune has ended', () => pruning.runs() > before + 1);
    }
    assert.ok(kills >= 15);
    await pruning.kill();
    await age(directory);
    await pruneStore(directory);
    assert.equal((await filesIn(join(directory, 'blobs'))).length, 0);
  },
);

function descriptorOf(mediaType: string, text: string): object {
  const bytes = Buffer.from(text);
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

test('airlift prune prints what it removes, and --dry-run and --json', async (t) => {
  const registry = await startRegistry(t);
  const image = await imageOf(registry, 'acme/api', 'old');
  await pushTagged(registry, 'acme/api', image.digest, image);
  await age(registry.directory);
  const name = `acme/api@${image.digest}`;
  const dry = await airlift(['prune', registry.directory, '--dry-run']);
  assert.match(
    dry.stdout,
    new RegExp(
      `^would remove ${name}\\nwould remove 1 manifest and 3 files with \\d+ B; 0 manifests stay\\n$`,
    ),
  );
  const json = await airlift(['prune', registry.directory, '--dry-run', '--json']);
  assert.deepEqual((JSON.parse(json.stdout) as { removed: string[] }).removed, [name]);
  assert.ok((await stat(join(registry.directory, 'blobs', 'sha256', image.digest.slice(7)))).isFile());
  const done = await airlift(['prune', registry.directory]);
  assert.match(done.stdout, /\nremoved 1 manifest and 3 files/);
  assert.match(
    (await airlift(['prune', temp(t)], { codes: [1] })).stderr,
    /not the directory of a served registry/,
  );
  assert.match(
    (await airlift(['prune', registry.directory, '--min-age', 'soon'], { codes: [2] })).stderr,
    /not a duration/,
  );
});
