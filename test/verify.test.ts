import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BundleReader } from '../src/bundle/reader.js';
import { sumsDigest } from '../src/bundle/format/sums.js';
import { BundleWriter } from '../src/bundle/write/writer.js';
import { isAirliftError } from '../src/errors.js';
import type { Digest } from '../src/oci/digest.js';
import { formatReference, parseReference } from '../src/oci/reference.js';
import { Request } from '../src/request/request.js';
import { verify as verifyWith, type VerifyOptions, type VerifyReport } from '../src/verify.js';
import { everyKind, options, writeBundle, type Cargo } from './bundle/write-bundle.js';
import { bytesOf } from './support/content.js';
import { multiPlatform, singlePlatform } from './support/image-sets.js';
import { imageOf, layer, type DescriptorJson } from './support/images.js';
import { needs, run } from './support/peers.js';
import { temp } from './support/temp.js';

const cargo = everyKind();

/** Verifies with one worker, since these bundles are small and many. */
function verify(path: string, more: VerifyOptions = {}): Promise<VerifyReport> {
  return verifyWith(path, { jobs: 1, ...more });
}

/** Positions in the intact bundle. */
interface Places {
  readonly size: number;
  readonly start: number;
  readonly entries: ReadonlyMap<
    string,
    { readonly position: number; readonly contentPosition: number; readonly size: number }
  >;
  readonly blobs: ReadonlyMap<string, { readonly position: number; readonly size: number }>;
}

async function placesOf(path: string): Promise<Places> {
  const reader = await BundleReader.open(path);
  const blobs = new Map<string, { position: number; size: number }>();
  for (const { digest, size } of reader.blobs()) {
    const position = reader.position(digest);
    if (position !== undefined) blobs.set(digest, { position, size });
  }
  await reader.close();
  return { size: reader.size, start: reader.head.start, entries: reader.head.entries, blobs };
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x08;
  writeFileSync(path, bytes);
}

/** Formats the problems for comparison. */
function brief({ problems }: VerifyReport): string[] {
  return problems.map(({ kind, thing, images }) =>
    [kind, thing, ...images.map(({ reference, platforms }) => `${reference} ${platforms.join(',')}`)].join(
      ' | ',
    ),
  );
}

function named(name: string): Cargo & { reference: string } {
  const found = cargo.find(({ reference }) => reference?.includes(name));
  assert.ok(found?.reference !== undefined);
  return { ...found, reference: found.reference };
}

/** Returns a layer that only the child for `platform` of an image has. */
function layerOnlyFor(item: Cargo, platform: string): Digest {
  const { manifests } = item.image;
  const root = JSON.parse(bytesOf(manifests.get(item.image.root.digest) ?? assert.fail()).toString()) as {
    manifests: DescriptorJson[];
  };
  const isFor = ({ platform: p }: DescriptorJson): boolean =>
    p !== undefined &&
    [p.os, p.architecture, p.variant].filter((part) => part !== undefined).join('/') === platform;
  const child = root.manifests.find(isFor);
  assert.ok(child !== undefined);
  const { layers } = JSON.parse(bytesOf(manifests.get(child.digest) ?? assert.fail()).toString()) as {
    layers: DescriptorJson[];
  };
  return (layers.at(-1) ?? assert.fail()).digest;
}

const entryOf = (digest: string): string => `blobs/${digest.replace(':', '/')}`;

describe('verify', () => {
  const dir = temp({ after });
  const whole = join(dir, 'whole.tar');
  let places: Places;
  let count = 0;
  before(async () => {
    await writeBundle(whole, cargo);
    places = await placesOf(whole);
  });

  /** Writes a damaged copy of the intact bundle. */
  function damaged(damage: (path: string) => void): string {
    const path = join(dir, `damaged${++count}.tar`);
    copyFileSync(whole, path);
    damage(path);
    return path;
  }

  const placeOf = (digest: string): { position: number; size: number } =>
    places.blobs.get(digest) ?? assert.fail();

  test('finds no problem in an intact bundle', async () => {
    const seen: number[] = [];
    const report = await verifyWith(whole, { onProgress: ({ bytes }) => seen.push(bytes) });
    assert.deepEqual(report.problems, []);
    assert.equal(report.ok, true);
    assert.equal(report.images, cargo.filter(({ reference }) => reference !== undefined).length);
    assert.equal(report.blobs, places.blobs.size);
    assert.equal(report.leftOut, 0);
    assert.equal(seen.at(-1), report.blobBytes);
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
    );
  });

  test('names the image and the platform of a layer with a flipped byte', async () => {
    const tools = named('acme/tools');
    const digest = layerOnlyFor(tools, 'linux/arm/v7');
    const report = await verify(damaged((path) => flip(path, placeOf(digest).position + 1000)));
    assert.deepEqual(brief(report), [`digest | ${entryOf(digest)} | ${tools.reference} linux/arm/v7`]);
    assert.equal(report.ok, false);
    assert.match(report.problems[0]?.detail ?? '', new RegExp(`got sha256:[0-9a-f]{64}, want ${digest}`));
  });

  /** Verifies a damaged copy with a request, and returns what that asks for. */
  async function requested(
    damage: (path: string) => void,
  ): Promise<{ head: boolean; sums: Digest | undefined; blobs: Map<Digest, readonly string[]> } | undefined> {
    const path = join(dir, `damaged${++count}.request`);
    const report = await verify(damaged(damage), { request: path });
    assert.equal(existsSync(path), report.request !== undefined);
    if (report.request === undefined) return undefined;
    const request = await Request.open(path);
    const { header, totals } = request;
    assert.deepEqual(report.request, { path, head: header.head, ...totals });
    const blobs = new Map<Digest, readonly string[]>();
    for await (const { digest, size, images } of request.blobs()) {
      // Without the catalog, the sizes of what a missing manifest names are unknown.
      if (!header.head || size !== undefined) assert.equal(size, placeOf(digest).size);
      blobs.set(digest, images.map(formatReference));
    }
    return { head: header.head, sums: header.sums, blobs };
  }

  test('writes a request for exactly the blobs that are damaged', async () => {
    const tools = named('acme/tools');
    const digest = layerOnlyFor(tools, 'linux/arm/v7');
    const { root } = named('acme/web').image;
    const found = await requested((path) => {
      flip(path, placeOf(digest).position + 1000);
      flip(path, placeOf(root.digest).position + 5);
      // Headers follow from the catalog.
      flip(path, placeOf(root.digest).position - 300);
    });
    assert.equal(found?.head, false);
    assert.equal(found.sums, await sumsDigest(whole));
    assert.deepEqual([...found.blobs.keys()].sort(), [digest, root.digest].sort());
    assert.deepEqual(found.blobs.get(digest), [tools.reference]);
    assert.deepEqual(await requested(() => undefined), undefined);
  });

  test('writes a request for the head if the catalog is damaged, and for all blobs behind the end of a truncated file', async () => {
    const ordered = [...places.blobs];
    const [, { position }] = ordered[40] ?? assert.fail();
    const found = await requested((path) => {
      truncateSync(path, position);
      flip(path, (places.entries.get('airlift/catalog.db')?.contentPosition ?? 0) + 9000);
    });
    assert.equal(found?.head, true);
    const want = ordered.slice(40).map(([digest]) => digest);
    assert.deepEqual([...found.blobs.keys()].sort(), want.sort());
  });

  test('finds a flipped byte in any layer, and never stops at the first', async () => {
    const layers = [...places.blobs].filter(([, { size }]) => size > 0).slice(-12);
    const report = await verify(
      damaged((path) => layers.forEach(([, { position, size }]) => flip(path, position + size - 1))),
    );
    assert.deepEqual(
      report.problems.map(({ kind, thing }) => [kind, thing]).sort(),
      layers.map(([digest]) => ['digest', entryOf(digest)]).sort(),
    );
    for (const { images } of report.problems) assert.ok(images.length > 0);
  });

  test('names all images that share a layer, with all their platforms', async () => {
    const all = cargo.filter(({ image }) => image.root.mediaType.includes('oci'));
    const counts = new Map<Digest, number>();
    for (const { image } of all)
      for (const digest of image.blobs.keys()) counts.set(digest, (counts.get(digest) ?? 0) + 1);
    const [digest] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? assert.fail();
    const report = await verify(damaged((path) => flip(path, placeOf(digest).position + 20)));
    const [problem] = report.problems;
    const want = cargo.filter(({ reference, image }) => reference !== undefined && image.blobs.has(digest));
    assert.deepEqual(
      problem?.images.map(({ reference }) => reference),
      want.map(({ reference }) => reference).sort(),
    );
    const web = problem?.images.find(({ reference }) => reference.includes('acme/web'));
    assert.deepEqual(web?.platforms, ['linux/amd64', 'linux/arm/v7', 'linux/arm64']);
  });

  test('names every platform of an index with a flipped byte', async () => {
    const web = named('acme/web');
    const { digest } = web.image.root;
    const report = await verify(damaged((path) => flip(path, placeOf(digest).position + 5)));
    assert.deepEqual(brief(report), [
      `digest | ${entryOf(digest)} | ${web.reference} linux/amd64,linux/arm/v7,linux/arm64`,
    ]);
  });

  test('finds a flipped byte in any tar header', async () => {
    for (const digest of [...places.blobs.keys()].filter((_, at) => at % 9 === 0)) {
      const header = placeOf(digest).position - 512;
      const report = await verify(damaged((path) => flip(path, header + 130)));
      assert.deepEqual(
        report.problems.map(({ kind, thing }) => [kind, thing]),
        [['header', entryOf(digest)]],
      );
      assert.ok((report.problems[0]?.images.length ?? 0) > 0);
    }
  });

  test('finds a flipped byte in the header of any entry before the blobs', async () => {
    for (const { position } of places.entries.values()) {
      const report = await verify(damaged((path) => flip(path, position + 130)));
      const kinds = report.problems.map(({ kind }) => kind);
      assert.ok(kinds.includes('header'), kinds.join());
      // The contents are found nevertheless.
      assert.ok(!kinds.includes('missing') && !kinds.includes('digest'), JSON.stringify(report.problems));
      assert.equal(report.blobs, places.blobs.size);
    }
  });

  for (const [name, kind] of [
    ['oci-layout', 'layout'],
    ['index.json', 'index'],
    ['airlift/catalog.db', 'catalog'],
    ['airlift/SHA256SUMS', 'sums'],
    ['airlift/SHA512SUMS', 'sums'],
  ] as const) {
    test(`finds flipped bytes in ${name}`, async () => {
      const entry = places.entries.get(name) ?? assert.fail();
      for (const part of [0, 0.3, 0.7, 0.999]) {
        const at = Math.floor(entry.size * part);
        const report = await verify(damaged((path) => flip(path, entry.contentPosition + at)));
        const kinds = new Set(report.problems.map((problem) => problem.kind));
        // A wrong line in a list of digests is reported for the entry that it names.
        const isFound = kinds.has(kind) || kinds.has('catalog') || (kind === 'sums' && kinds.has('layout'));
        assert.ok(isFound, `byte ${at}: ${JSON.stringify(report.problems)}`);
        assert.ok(!kinds.has('digest'), JSON.stringify(report.problems));
      }
    });
  }

  test('relies on the archive if the catalog is damaged, and still names the images that a damaged layer affects', async () => {
    const tools = named('acme/tools');
    const digest = layerOnlyFor(tools, 'linux/arm64');
    const report = await verify(
      damaged((path) => {
        flip(path, (places.entries.get('airlift/catalog.db')?.contentPosition ?? 0) + 9000);
        flip(path, placeOf(digest).position + 1000);
      }),
    );
    assert.deepEqual(brief(report), [
      'catalog | airlift/catalog.db',
      `digest | ${entryOf(digest)} | ${tools.reference} linux/arm64`,
    ]);
    assert.equal(report.images, cargo.filter(({ reference }) => reference !== undefined).length);
    assert.equal(report.blobs, places.blobs.size);
  });

  test('names every blob that a truncated file lacks, completely or in part', async () => {
    const ordered = [...places.blobs];
    for (const at of [ordered.length - 1, ordered.length - 5, 40, 1]) {
      const [, { position }] = ordered[at] ?? assert.fail();
      const report = await verify(damaged((path) => truncateSync(path, position)));
      const lost = ordered.slice(at).filter(([, { size }], n) => size > 0 || n > 0);
      const missing = report.problems.filter(
        ({ kind, thing }) => kind === 'missing' && thing.startsWith('blobs/'),
      );
      assert.deepEqual(
        missing.map(({ thing }) => thing),
        lost.map(([digest]) => entryOf(digest)),
      );
      assert.ok(report.problems.some(({ thing }) => thing === 'end of archive'));
      for (const { images } of missing) assert.ok(images.length > 0);
    }
  });

  test('names what is missing from a file that is truncated in its head', async () => {
    for (const name of ['index.json', 'airlift/catalog.db', 'airlift/SHA256SUMS']) {
      const entry = places.entries.get(name) ?? assert.fail();
      const report = await verify(damaged((path) => truncateSync(path, entry.contentPosition + 100)));
      assert.equal(report.ok, false);
      assert.ok(report.problems.length > 1);
    }
  });

  test('finds an entry that was appended', { skip: needs('tar') }, async () => {
    writeFileSync(join(dir, 'extra'), 'more');
    const path = damaged(() => undefined);
    await run('tar', ['rf', path, '-C', dir, 'extra']);
    const report = await verify(path);
    assert.ok(brief(report).includes('extra | extra'), JSON.stringify(brief(report)));
    assert.equal(report.blobs, places.blobs.size);
  });

  test('finds data after the end of the archive', async () => {
    const report = await verify(damaged((path) => appendFileSync(path, Buffer.alloc(512, 'x'))));
    assert.deepEqual(brief(report), ['extra | end of archive']);
  });

  /** Repacks the intact bundle with GNU tar, with other entries. */
  async function repacked(change: (names: string[]) => string[]): Promise<string> {
    const unpacked = join(dir, `unpacked${++count}`);
    mkdirSync(unpacked);
    await run('tar', ['xf', whole, '-C', unpacked]);
    writeFileSync(join(unpacked, 'blobs/sha256/extra'), 'x');
    const names = (await run('tar', ['tf', whole])).stdout.trimEnd().split('\n');
    const path = join(dir, `repacked${count}.tar`);
    const how = [
      '--format=gnu',
      '--owner=0',
      '--group=0',
      '--numeric-owner',
      '--mode=644',
      '--blocking-factor=1',
    ];
    await run('tar', [...how, '-cf', path, '-C', unpacked, ...change(names)]);
    return path;
  }

  test('finds a blob that was removed, and the images that it affects', { skip: needs('tar') }, async () => {
    const web = named('acme/web');
    const digest = layerOnlyFor(web, 'linux/arm64');
    const report = await verify(await repacked((names) => names.filter((name) => name !== entryOf(digest))));
    const lines = brief(report).filter((line) => !line.startsWith('header'));
    assert.match(lines.shift() ?? '', /^moved/);
    assert.deepEqual(lines, [`missing | ${entryOf(digest)} | ${web.reference} linux/arm64`]);
  });

  test('finds a blob that was added', { skip: needs('tar') }, async () => {
    const report = await verify(
      await repacked((names) => [...names.slice(0, -3), 'blobs/sha256/extra', ...names.slice(-3)]),
    );
    const lines = brief(report).filter((line) => !line.startsWith('header'));
    assert.match(lines.shift() ?? '', /^moved/);
    assert.deepEqual(lines, ['extra | blobs/sha256/extra']);
  });

  test('reports an archive that was repacked with the same content', { skip: needs('tar') }, async () => {
    const report = await verify(await repacked((names) => names));
    assert.deepEqual(
      brief(report).filter((line) => !/^(header|moved)/.test(line)),
      [],
    );
    assert.equal(report.ok, false);
  });

  test('finds an archive without a catalog', { skip: needs('tar') }, async () => {
    const report = await verify(
      await repacked((names) => names.filter((name) => name !== 'airlift/catalog.db')),
    );
    assert.ok(brief(report).includes('catalog | airlift/catalog.db'), brief(report).join('\n'));
    assert.equal(report.blobs, places.blobs.size);
  });

  test('refuses a file that is not a bundle', { skip: needs('tar', 'gzip') }, async () => {
    const files: Record<string, RegExp> = {
      text: /starts with "some text/,
      empty: /is empty/,
      zeros: /without airlift/,
    };
    writeFileSync(join(dir, 'text'), 'some text of no kind'.repeat(1000));
    writeFileSync(join(dir, 'empty'), '');
    writeFileSync(join(dir, 'zeros'), Buffer.alloc(5000));
    writeFileSync(join(dir, 'text2'), 'x');
    await run('tar', ['cf', join(dir, 'other'), '-C', dir, 'text2']);
    await run('sh', ['-c', `gzip < ${whole} > ${join(dir, 'gzipped')}`]);
    for (const [name, message] of Object.entries({
      ...files,
      other: /without airlift.*"text2"/,
      gzipped: /a gzip file/,
    })) {
      await assert.rejects(verify(join(dir, name)), (error) => {
        assert.ok(isAirliftError(error, 'input'), String(error));
        assert.match(error.message, message);
        return true;
      });
    }
    await assert.rejects(verify(join(dir, 'nowhere')), (error) => isAirliftError(error, 'io'));
    await assert.rejects(verify(dir), (error) => isAirliftError(error, 'io'));
  });

  test('stops on an abort signal', async () => {
    const stop = AbortSignal.abort();
    await assert.rejects(verify(whole, { signal: stop }), (error) => isAirliftError(error, 'interrupted'));
    const control = new AbortController();
    await assert.rejects(
      verify(whole, { signal: control.signal, onProgress: () => control.abort() }),
      (error) => isAirliftError(error, 'interrupted'),
    );
  });

  test('finds a manifest that names a blob missing from the bundle and its catalog', async () => {
    const lost = layer([{ name: 'lost', content: 'lost' }]);
    const image = imageOf({ layers: [lost] });
    const content = image.manifests.get(image.root.digest) ?? assert.fail();
    const path = join(dir, 'lost.tar');
    const writer = await BundleWriter.open(path, options);
    const platform = { os: 'linux', architecture: 'amd64' };
    const reference = parseReference('registry.example/lost:1');
    for (const [digest, { size }] of image.blobs) {
      if (digest === lost.descriptor.digest) continue;
      const descriptor = { digest, size, mediaType: 'application/vnd.oci.image.config.v1+json' };
      const bytes = bytesOf(image.blobs.get(digest) ?? assert.fail());
      writer.addBlob({ descriptor, role: 'config', repository: reference, bytes });
      const edges = [{ child: digest, role: 'config', position: 0 }] as const;
      writer.addManifest({ descriptor: image.root, bytes: bytesOf(content), manifest: {}, edges, platform });
    }
    writer.addImage({ reference, root: image.root });
    await writer.layOut();
    // A bundle that verify rejects does not get its final name; the partial file is verified instead.
    await assert.rejects(writer.finish(), (error) => isAirliftError(error, 'damaged'));
    const { partialPath } = writer;
    await writer.close();
    const report = await verify(partialPath);
    assert.deepEqual(brief(report), [
      `missing | ${entryOf(lost.descriptor.digest)} | registry.example/lost:1 linux/amd64`,
    ]);
  });

  test('does not report the dropped platforms of an original index', async () => {
    const full = multiPlatform({ name: 'part' });
    const path = join(dir, 'part.tar');
    const image = singlePlatform('linux/arm64', { name: 'part' });
    await writeBundle(path, [{ reference: 'registry.example/part:1', image, original: full }]);
    const report = await verify(path);
    assert.deepEqual(report.problems, []);
  });
});
