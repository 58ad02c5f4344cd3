import assert from 'node:assert/strict';
import {
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import type { TarEntry } from '../../src/bundle/format/entry-reader.js';
import { sumsDigest } from '../../src/bundle/format/sums.js';
import { formatSizedDigest } from '../../src/request/line.js';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { airlift } from '../support/airlift.js';
import { slow, startExportSetup, type ExportSetup } from '../support/exporting.js';
import { assortment, companionsOf, multiPlatform } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { needs, run } from '../support/peers.js';
import { startAirlift } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { until } from '../support/until.js';

/** Returns the entries of a bundle's head by name, and the digest of its `SHA256SUMS`. */
async function openHead(path: string): Promise<{ head: ReadonlyMap<string, TarEntry>; sums: string }> {
  const reader = await BundleReader.open(path);
  const { entries } = reader.head;
  await reader.close();
  return { head: entries, sums: await sumsDigest(path) };
}

describe('airlift repair', () => {
  const dir = temp({ after });
  const whole = join(dir, 'whole.tar');
  const path = join(dir, 'site.tar');
  const request = join(dir, 'site.request');
  const repair = join(dir, 'repair.tar');
  let setup: ExportSetup;
  let bytes: Buffer;
  let blobs: { digest: Digest; kind: string; size: number; position: number }[];
  const closers: Parameters<Cleanup['after']>[0][] = [];
  after(async () => {
    for (const close of closers.reverse()) await close();
  });
  before(async () => {
    // A hook that `before` adds would run when `before` ends.
    setup = await startExportSetup({ after: (close) => void closers.push(close) });
    for (const name of ['web', 'api'])
      await setup.push(
        name,
        multiPlatform({ name, platforms: ['linux/amd64', 'linux/arm64'], bigBytes: 400_000 }),
      );
    bytes = await setup.undisturbed(...setup.names('web', 'api'));
    writeFileSync(whole, bytes);
    const reader = await BundleReader.open(whole);
    blobs = [...reader.blobs()].map(({ digest, kind, size }) => ({
      digest,
      kind,
      size,
      position: reader.position(digest) ?? 0,
    }));
    await reader.close();
  });

  const one = (kind: string, at: number): (typeof blobs)[number] =>
    blobs.filter((blob) => blob.kind === kind && blob.size > 100).at(at) ?? assert.fail();
  function damage(to: string, hit: readonly { position: number; size: number }[]): void {
    const copy = Buffer.from(bytes);
    for (const { position, size } of hit)
      copy[position + (size >> 1)] = (copy[position + (size >> 1)] ?? 0) ^ 1;
    writeFileSync(to, copy);
  }
  const isRestored = (): boolean => readFileSync(path).equals(bytes);

  test('verify asks, export answers, repair restores each byte', async () => {
    const hit = [one('layer', 0), one('layer', -1), one('config', 1), one('manifest', 0), one('index', 0)];
    damage(path, hit);
    const verified = await airlift(['verify', path, '--request', request], { codes: [4] });
    assert.match(verified.stdout, /^wrote .*site\.request: it asks for 5 blobs of /m);
    assert.match(verified.stdout, /^next: .*airlift export --request site\.request -o repair\.tar$/m);
    const text = readFileSync(request, 'utf8');
    assert.deepEqual(
      [...text.matchAll(/^blob (\S+) (\d+) [a-z]{4}$/gm)].map(([, digest]) => digest).sort(),
      hit.map(({ digest }) => digest).sort(),
    );
    const exported = await airlift(['export', '--request', request, '-o', repair]);
    assert.match(exported.stdout, /^exported 5 blobs of /m);
    assert.ok(statSync(repair).size < bytes.length / 2);
    const repaired = await airlift(['repair', path, '--from', repair]);
    assert.match(repaired.stdout, /^repaired .*site\.tar: 5 blobs of .*; everything verified in /m);
    assert.ok(isRestored());
    await airlift(['verify', path]);
  });

  test('a repair file is not taken for a bundle', async () => {
    for (const args of [
      ['inspect', repair],
      ['import', repair, '--to', '127.0.0.1:1'],
      ['verify', repair],
    ]) {
      const { stderr } = await airlift(args, { codes: [1] });
      assert.match(stderr, /a repair file/);
      assert.match(stderr, /hint: airlift repair BUNDLE --from /);
    }
  });

  test('tar and sha256sum read a repair file', { skip: needs('tar', 'sha256sum') }, async () => {
    const script = `mkdir ${dir}/x && tar xf ${repair} -C ${dir}/x && cd ${dir}/x && sha256sum --check --strict airlift/SHA256SUMS`;
    const { stdout } = await run('sh', ['-c', script]);
    assert.equal(stdout.match(/: OK$/gm)?.length, 8);
  });

  test('restores a truncated bundle from the registry that it comes from, also after kill -9', async () => {
    damage(path, [one('layer', 0)]);
    truncateSync(path, one('layer', 2).position + 1000);
    setup.proxy.use(slow);
    for (const count of [200_000, 900_000]) {
      const run = startAirlift(['repair', path, '--from-registry', setup.proxy.host]);
      await setup.passed(run, count);
      run.send('SIGKILL');
      assert.equal((await run.ended).signal, 'SIGKILL');
    }
    setup.proxy.heal();
    const { stdout } = await airlift(['repair', path, '--from-registry', setup.proxy.host]);
    assert.match(stdout, /^repaired /m);
    assert.ok(isRestored());
  });

  test('kill -9 between two blobs leaves the whole ones whole', async () => {
    const hit = blobs.filter(({ size }) => size > 100);
    const copy = join(dir, 'copy.tar');
    copyFileSync(whole, copy);
    for (const count of [1, 4, 9]) {
      damage(path, hit);
      const file = openSync(path, 'r');
      const byte = Buffer.alloc(1);
      const target = hit[count] ?? assert.fail();
      const at = target.position + (target.size >> 1);
      const run = startAirlift(['repair', path, '--from', copy]);
      let isEnded = false;
      void run.ended.then(() => (isEnded = true));
      await until(
        'a blob is repaired',
        () => isEnded || (readSync(file, byte, 0, 1, at) === 1 && byte[0] === bytes[at]),
        60_000,
      );
      run.send('SIGKILL');
      await run.ended;
      const now = readFileSync(path);
      for (const { digest, position, size } of blobs)
        if (!hit.slice(count).some((blob) => blob.digest === digest))
          assert.equal(digestOf(now.subarray(position, position + size)), digest);
      await airlift(['repair', path, '--from', copy]);
      assert.ok(isRestored());
    }
  });

  test('says what no registry has any more, and exports the rest', async () => {
    const layer = one('layer', 1);
    damage(path, [layer]);
    await airlift(['verify', path, '--request', request], { codes: [4] });
    const gone = digestOf(Buffer.from('gone'));
    const line = `blob ${formatSizedDigest({ digest: gone, size: 4 })}\nimage ${setup.proxy.host}/acme/web:1\n`;
    writeFileSync(request, line, { flag: 'a' });
    const { stdout } = await airlift(['export', '--request', request, '-o', repair, '--force'], {
      codes: [3],
    });
    assert.match(stdout, new RegExp(`^not available: ${gone}, for ${setup.proxy.host}/acme/web:1$`, 'm'));
    assert.match(stdout, /^exported 1 blob of /m);
    await airlift(['repair', path, '--from', repair]);
    assert.ok(isRestored());
    writeFileSync(request, `airlift request 1\n${line}`);
    const none = await airlift(['export', '--request', request, '-o', join(dir, 'none.tar')], { codes: [1] });
    assert.match(none.stderr, /nothing of the request is available/);
  });

  test('a blob of a request that names no image is found in the repository given', async () => {
    const layer = one('layer', 1);
    const typed = `AIRLIFT REQUEST 1\n${`blob ${formatSizedDigest(layer)}`.toUpperCase()}\n`;
    writeFileSync(request, typed);
    const args = ['export', '--request', request, '-o', repair, '--force'];
    const failed = await airlift(args, { codes: [1] });
    assert.match(failed.stderr, /the request names no image that needs it/);
    await airlift([...args, ...setup.names('web', 'api')]);
    damage(path, [layer]);
    await airlift(['repair', path, '--from', repair]);
    assert.ok(isRestored());
  });

  test('makes a filtered index again without any source', async () => {
    const filtered = await setup.undisturbed(...setup.names('web', 'api'), '--platform', 'linux/arm64');
    writeFileSync(path, filtered);
    const reader = await BundleReader.open(path);
    const roots = [...reader.images()].map(({ root }) => reader.position(root.digest) ?? assert.fail());
    await reader.close();
    const copy = Buffer.from(filtered);
    for (const position of roots) copy[position + 40] = (copy[position + 40] ?? 0) ^ 1;
    writeFileSync(path, copy);
    await airlift(['repair', path]);
    assert.ok(readFileSync(path).equals(filtered));
  });

  test('rebuilds the catalog from the manifests, and proves it by its digest', async (t) => {
    const all = assortment();
    for (const [name, { image }] of Object.entries(all)) await setup.push(name, image);
    const signed = all['signed'] ?? assert.fail();
    const host = setup.names('signed')[0]?.split('/')[0] ?? '';
    for (const { tag, image } of companionsOf(signed)) await pushImage(host, 'acme/signed', tag, image);
    const names = setup.names(...Object.keys(all));
    const platforms = ['--platform', 'linux/arm64,linux/amd64,windows/amd64', '--skip-missing-platforms'];
    const key = join(temp(t), 'export.key');
    await airlift(['keygen', '-o', key, '-W']);
    for (const flags of [[], platforms, ['--sign', key]]) {
      const want = await setup.undisturbed(...names, '--foreign-layers', 'keep', ...flags);
      writeFileSync(path, want);
      const { head, ...reader } = await openHead(path);
      const catalog = head.get('airlift/catalog.db') ?? assert.fail();
      const list = head.get('airlift/SHA256SUMS') ?? assert.fail();
      const copy = Buffer.from(want);
      const hit = (...at: number[]): void => at.forEach((one) => (copy[one] = (copy[one] ?? 0) ^ 1));
      // A damaged header, and damage of the list of digests elsewhere than in the line for the catalog.
      hit(catalog.contentPosition + 5000, catalog.position + 200, list.contentPosition + list.size - 100);
      writeFileSync(path, copy);
      const verified = await airlift(['verify', path, '--request', request], { codes: [4] });
      assert.match(verified.stdout, /first run airlift repair .*: it rebuilds the catalog/);
      const { stdout } = await airlift(['repair', path]);
      assert.match(
        stdout,
        /^rebuilt the catalog from the manifests: it has the digest that it should have\n/,
      );
      assert.ok(readFileSync(path).equals(want));
      // Without the line, the digest that export printed proves the catalog.
      hit(list.contentPosition + 2 * 80);
      writeFileSync(path, copy);
      const { stderr } = await airlift(['repair', path], { codes: [4] });
      assert.match(
        stderr,
        /the rebuilt catalog has the digest sha256:.* which airlift\/SHA256SUMS does not confirm/,
      );
      assert.ok(readFileSync(path).equals(copy));
      await airlift(['repair', path, '--sums', reader.sums]);
      assert.ok(readFileSync(path).equals(want));
    }
  });

  test('repairs volumes in place', async () => {
    await airlift(['split', whole, '--volume-size', '600K', '-o', dir]);
    const list = join(dir, 'whole.tar.volumes');
    const volume = join(dir, 'whole.tar.002');
    const want = readFileSync(volume);
    const copy = Buffer.from(want);
    for (const at of [1000, copy.length >> 1, copy.length - 100]) copy[at] = (copy[at] ?? 0) ^ 1;
    writeFileSync(volume, copy);
    await airlift(['verify', list], { codes: [4] });
    await airlift(['repair', list, '--from', whole]);
    assert.ok(readFileSync(volume).equals(want));
    await airlift(['verify', list]);
    truncateSync(volume, 1000);
    const { stderr } = await airlift(['repair', list, '--from', whole], { codes: [4] });
    assert.match(stderr, /whole\.tar\.002/);
    assert.equal(statSync(volume).size, 1000);
  });

  test('says why a registry does not provide a blob', async () => {
    damage(path, [one('layer', 1)]);
    setup.proxy.use({ fault: { do: 'answer', status: 404, body: '' }, method: 'GET', path: /\/blobs\// });
    const { stdout } = await airlift(['repair', path, '--from-registry', setup.proxy.host], { codes: [4] });
    setup.proxy.heal();
    assert.match(stdout, /^still damaged: sha256:.*\n {2}fetch blob sha256:/m);
  });

  test('reports what is still damaged with exit code 4', async () => {
    damage(path, [one('layer', 1), one('layer', 2)]);
    const { stdout } = await airlift(['repair', path], { codes: [4] });
    assert.equal(stdout.match(/^still damaged: sha256:/gm)?.length, 2);
    assert.match(stdout, /^ {2}breaks .*acme\/(?:web|api):1 \(linux\//m);
    assert.match(stdout, /^next: airlift verify .* --request site\.request/m);
    const json = await airlift(['repair', path, '--json', '--from', whole]);
    assert.equal((JSON.parse(json.stdout) as { ok: boolean }).ok, true);
    assert.ok(isRestored());
  });
});
