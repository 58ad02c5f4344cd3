import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { isAirliftError } from '../../src/errors.js';
import { verify, type VerifyReport } from '../../src/verify.js';
import { everyKind, writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { busyboxImage, needsBusybox } from '../support/busybox.js';
import { inMemory } from '../support/content.js';
import { elfFile } from '../support/elf.js';
import { multiPlatform, programLayer } from '../support/image-sets.js';
import { imageOf, indexOf, layer, types, type ImageOptions, type Layer } from '../support/images.js';
import { tarOf, type TarMember } from '../support/tar.js';
import { temp, type Cleanup } from '../support/temp.js';

/** Runs `verify --deep` on a bundle of these images. */
async function verifyDeep(
  t: Cleanup,
  cargo: readonly Cargo[],
  code: number,
  ...more: string[]
): Promise<string> {
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, cargo);
  return (await airlift(['verify', bundle, '--deep', ...more], { codes: [code] })).stdout;
}

/** Returns the report on a bundle with one image. */
async function reportOn(
  t: Cleanup,
  layers: readonly Layer[],
  options: Partial<ImageOptions> = {},
): Promise<VerifyReport> {
  const image = imageOf({ layers: [...layers, programLayer('linux/amd64', 'app')], ...options });
  const bundle = join(temp(t), 'site.tar');
  await writeBundle(bundle, [{ reference: 'registry.example/acme/app:1', image }]);
  return verify(bundle, { deep: true });
}

/** Returns the problems of images with one of these layers each, in one bundle. */
async function problemsOfEach(t: Cleanup, layers: readonly Layer[]): Promise<string[][]> {
  const bundle = join(temp(t), 'site.tar');
  const reference = (at: number): string => `registry.example/acme/app:${at}`;
  const cargo = layers.map((one, at) => ({ reference: reference(at), image: imageOf({ layers: [one] }) }));
  await writeBundle(bundle, cargo);
  const { problems } = await verify(bundle, { deep: true });
  return layers.map((_, at) =>
    problems
      .filter(({ images }) => images.some((image) => image.reference === reference(at)))
      .map(({ detail }) => detail),
  );
}

/** Returns a layer of any bytes whose config states `tar` as its unpacked content. */
function rawLayer(bytes: Buffer, mediaType: string, tar: Buffer): Layer {
  const { digest, size } = inMemory(bytes);
  return { descriptor: { mediaType, digest, size }, content: inMemory(bytes), diffId: inMemory(tar).digest };
}

const file = (name: string): TarMember => ({ name, content: 'content' });
const symlink = (name: string, target: string): TarMember => ({ name, type: 'symlink', target });
const hardlink = (name: string, target: string): TarMember => ({ name, type: 'link', target });

const problemsOf = ({ problems }: VerifyReport): string[] =>
  problems.map(({ kind, detail }) => `${kind}: ${detail}`);
const warningsOf = ({ deep }: VerifyReport): string[] => (deep?.warnings ?? []).map(({ detail }) => detail);

suite('verify --deep', () => {
  test('accepts good images of every kind, without warnings', async (t) => {
    const stdout = await verifyDeep(t, everyKind(), 0);
    assert.match(
      stdout,
      /^unpacked \d+ layers of \d+ images, each platform by itself: \d+ tar entries, [\d.]+ MB$/m,
    );
    assert.doesNotMatch(stdout, /warning|wrong/);
  });

  test('skips and counts layers that are left out or are no tar archives', async (t) => {
    const foreign = layer([file('foreign')], { urls: ['https://registry.invalid/layer.tar.gz'] });
    const encrypted = rawLayer(Buffer.from('secret'), `${types.oci.gzip}+encrypted`, Buffer.alloc(1024));
    const report = await reportOn(t, [foreign, encrypted]);
    assert.deepEqual([problemsOf(report), warningsOf(report)], [[], []]);
    assert.deepEqual([report.deep?.images, report.deep?.layers, report.deep?.skipped], [1, 1, 2]);
  });

  test('accepts real programs', { skip: needsBusybox() }, async (t) => {
    const stdout = await verifyDeep(
      t,
      [{ reference: 'registry.example/busybox:1', image: busyboxImage() }],
      0,
    );
    assert.match(stdout, /^unpacked 3 layers of 3 images, each platform by itself: 18 tar entries, /m);
    assert.doesNotMatch(stdout, /warning|wrong/);
  });

  test('unpacks gzip, zstd and no compression, and compares sha256 and sha512', async (t) => {
    const large: TarMember = {
      name: 'large',
      content: Buffer.alloc(3_000_000, 'some text, again and again. '),
    };
    const compressions = ['gzip', 'zstd', 'none'] as const;
    const good = compressions.map((compression) =>
      layer([large, file(compression)], { compression, algorithm: 'sha512' }),
    );
    const report = await reportOn(t, good);
    assert.deepEqual([problemsOf(report), warningsOf(report), report.deep?.layers], [[], [], 4]);
    assert.ok((report.deep?.bytes ?? 0) > 9_000_000);
    const { diffId } = layer([file('other')]);
    const wrong = await reportOn(
      t,
      good.map((one) => ({ ...one, diffId })),
    );
    assert.deepEqual(
      problemsOf(wrong).sort(),
      good
        .map(
          (one) =>
            `layer: unpacks to other content than the config states; got ${one.diffId}, want diff_id ${diffId}`,
        )
        .sort(),
    );
    assert.equal(wrong.ok, false);
    assert.deepEqual(wrong.problems[0]?.images, [
      { reference: 'registry.example/acme/app:1', platforms: ['linux/amd64'] },
    ]);
  });

  test('names the publisher, writes no request, and exits with 4 if only images are wrong', async (t) => {
    const wrong = { ...layer([file('a')]), diffId: layer([file('b')]).diffId };
    const cargo = [{ reference: 'registry.example/acme/app:1', image: imageOf({ layers: [wrong] }) }];
    const stdout = await verifyDeep(t, cargo, 4, '--request', join(temp(t), 'site.request'));
    assert.match(stdout, /^wrong: blobs\/sha256\/[0-9a-f]{64}: unpacks to other content/m);
    assert.match(stdout, /^ {2}breaks registry\.example\/acme\/app:1 \(linux\/amd64\)$/m);
    assert.match(stdout, /1 problem in images; no byte was lost or changed since the export$/m);
    assert.match(stdout, /^next: ask the publishers/m);
    assert.doesNotMatch(stdout, /request/);
  });

  test('finds a layer that does not unpack', async (t) => {
    const tar = tarOf([file('a')]);
    const gzip = gzipSync(tar);
    const broken = Buffer.from(tar);
    broken[10] = 0x41;
    const single = Buffer.concat([
      tar.subarray(0, 1024),
      Buffer.alloc(512),
      tar.subarray(0, 1024),
      Buffer.alloc(1024),
    ]);
    const cases: [bytes: Buffer, mediaType: string, problem: RegExp][] = [
      [gzip.subarray(0, -20), types.oci.gzip, /decompress layer: truncated after \d+ bytes of gzip/],
      [
        Buffer.concat([gzip, Buffer.from('more')]),
        types.oci.gzip,
        /decompress layer: corrupt before byte \d+ of gzip/,
      ],
      [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff]), types.oci.zstd, /decompress layer: .* zstd/],
      [broken, types.oci.none, /read layer: not a tar archive/],
      [tar.subarray(0, 515), types.oci.none, /read layer: truncated at byte 515 inside "a"/],
      [single, types.oci.none, /a single block of zeros at byte 1536, inside the archive/],
    ];
    const found = await problemsOfEach(
      t,
      cases.map(([bytes, mediaType]) =>
        rawLayer(bytes, mediaType, mediaType === types.oci.none ? bytes : tar),
      ),
    );
    for (const [at, [, , problem]] of cases.entries()) {
      assert.match(found[at]?.[0] ?? '', problem);
      assert.equal(found[at]?.length, 1);
    }
    const encoded = await reportOn(t, [rawLayer(Buffer.from('BZh91AY&SY and more'), types.oci.gzip, tar)]);
    assert.match(warningsOf(encoded).join('\n'), /not checked: read layer: unsupported format; got bzip2/);
  });

  test('finds entries that leave the root, and accepts what engines confine', async (t) => {
    const cases: [members: TarMember[], problem: RegExp][] = [
      [[file('../escape')], /entry "\.\.\/escape" leaves the root/],
      [[file('a/../../escape')], /entry "a\/\.\.\/\.\.\/escape" leaves the root/],
      [[file('/../escape')], /entry "\/\.\.\/escape" leaves the root/],
      [[hardlink('a', '../../etc/shadow')], /hard link "a" to "\.\.\/\.\.\/etc\/shadow" leaves the root/],
      [
        [symlink('a', '../../etc'), file('a/passwd')],
        /entry "a\/passwd" lies below the symlink "a", which leaves the root/,
      ],
      [[file('d/.wh...')], /invalid whiteout "d\/\.wh\.\.\."/],
      [[file('.wh.')], /invalid whiteout "\.wh\."/],
    ];
    const found = await problemsOfEach(
      t,
      cases.map(([members]) => layer(members)),
    );
    for (const [at, [, problem]] of cases.entries()) {
      assert.match(found[at]?.[0] ?? '', problem);
      assert.equal(found[at]?.length, 1);
    }
    const fine = [
      { name: './', type: 'directory' as const },
      file('usr/lib/x'),
      symlink('lib', '/usr/lib'),
      file('lib/y'),
      symlink('usr/bin/up', '../lib/x'),
      symlink('dangling', 'nowhere'),
      hardlink('z', '/usr/lib/x'),
      file('usr/.wh.gone'),
      file('usr/.wh..wh..opq'),
      file('usr/..name'),
    ];
    const good = await reportOn(t, [layer(fine)]);
    assert.deepEqual([problemsOf(good), warningsOf(good)], [[], []]);
    const odd = await reportOn(t, [
      layer([file('/etc/a'), file('/etc/b'), symlink('etc/c', '../../../d'), symlink('e', '..')]),
    ]);
    assert.deepEqual(problemsOf(odd), []);
    assert.deepEqual(warningsOf(odd), [
      '2 entries with an absolute name, first "/etc/a"',
      '2 symlinks with more ".." than folders above, first "etc/c"',
    ]);
  });

  test('a symlink out of the root that an entry replaces is no way out', async (t) => {
    const replaced = [symlink('a', '../x'), { name: 'a/', type: 'directory' as const }, file('a/b')];
    assert.deepEqual(problemsOf(await reportOn(t, [layer(replaced)])), []);
  });

  test('follows symlinks of lower layers when it looks for entries that leave the root', async (t) => {
    const directory = (name: string): TarMember => ({ name: `${name}/`, type: 'directory' });
    const cases: [layers: TarMember[][], problem: RegExp | undefined][] = [
      [
        [[symlink('a', '../../etc')], [file('a/passwd')]],
        /an entry in "a" lies below the symlink "a" of a lower layer, which leaves the root/,
      ],
      [
        [[symlink('a', '../../etc')], [file('b')], [file('a/b/c/d')]],
        /an entry in "a\/b\/c" lies below the symlink "a"/,
      ],
      [[[symlink('d/a', '../..')], [hardlink('x', 'd/a/shadow')]], /an entry in "d\/a" lies below/],
      [[[symlink('a', '../x'), hardlink('b', 'a/y')]], /hard link "b" has its target below the symlink "a"/],
      // Engines resolve these inside the root.
      [[[symlink('a', '/')], [file('a/etc/passwd')]], undefined],
      [[[directory('usr/bin'), symlink('bin', 'usr/bin')], [file('bin/tool')]], undefined],
      [[[symlink('d/a', '../x')], [file('d/a/y')]], undefined],
      // The symlink is gone before the entry is unpacked.
      [[[symlink('a', '../x')], [directory('a'), file('a/b')]], undefined],
      [[[symlink('a', '../x')], [file('.wh.a')], [file('a/b')]], undefined],
      // An upper symlink does not move what lies below.
      [[[directory('a'), file('a/b')], [symlink('c', '../x')]], undefined],
    ];
    const bundle = join(temp(t), 'site.tar');
    const name = (at: number): string => `registry.example/acme/app:${at}`;
    const images = cases.map(([layers]) => imageOf({ layers: layers.map((members) => layer(members)) }));
    await writeBundle(
      bundle,
      images.map((image, at) => ({ reference: name(at), image })),
    );
    const { problems } = await verify(bundle, { deep: true });
    for (const [at, [, problem]] of cases.entries()) {
      const own = problems.filter(({ images: broken }) =>
        broken.some(({ reference }) => reference === name(at)),
      );
      assert.equal(own.length, problem === undefined ? 0 : 1, `case ${at}: ${JSON.stringify(own)}`);
      if (problem !== undefined) assert.match(own[0]?.detail ?? '', problem);
    }
  });

  test('finds the program that an upper layer puts below a symlink of a lower one', async (t) => {
    const program = (name: string, platform: string): TarMember => ({
      name,
      content: elfFile(platform, name),
      mode: 0o755,
    });
    const base = layer([
      { name: 'usr/bin/', type: 'directory' },
      ...['a', 'b', 'c', 'tool'].map((name) => program(`usr/bin/${name}`, 'linux/amd64')),
      symlink('bin', 'usr/bin'),
      symlink('sbin', '/bin'),
    ]);
    const config = { config: { Entrypoint: ['/usr/bin/tool'] } };
    const warningOf = async (...members: TarMember[]): Promise<string | undefined> => {
      const image = imageOf({ platform: 'linux/amd64', config, layers: [base, layer(members)] });
      const bundle = join(temp(t), 'site.tar');
      await writeBundle(bundle, [{ reference: 'registry.example/acme/app:1', image }]);
      return warningsOf(await verify(bundle, { deep: true }))[0];
    };
    const lies =
      /^wrong platform: config says linux\/amd64, executable is arm64|executables? (?:is|are) arm64/;
    assert.match((await warningOf(program('bin/tool', 'linux/arm64'))) ?? '', lies);
    // Through two symlinks.
    assert.match((await warningOf(program('sbin/tool', 'linux/arm64'))) ?? '', lies);
    // The symlink is replaced by a folder, so that the lower program stays.
    const replaced = [{ name: 'bin/', type: 'directory' as const }, program('bin/tool', 'linux/arm64')];
    assert.equal(await warningOf(...replaced), undefined);
    // A whiteout below the symlink removes the program: the others decide.
    assert.equal(await warningOf(file('bin/.wh.tool')), undefined);
    assert.match(
      (await warningOf(file('bin/.wh..wh..opq'), program('bin/other', 'linux/arm64'))) ?? '',
      lies,
    );
  });

  test('unpacks in any number of threads with the same result', async (t) => {
    const bundle = join(temp(t), 'site.tar');
    await writeBundle(bundle, everyKind());
    const reports = await Promise.all([1, 3].map((jobs) => verify(bundle, { deep: true, jobs })));
    assert.deepEqual(reports[0]?.deep, reports[1]?.deep);
    assert.ok((reports[0]?.deep?.layers ?? 0) > 3);
    const controller = new AbortController();
    await assert.rejects(
      verify(bundle, {
        deep: true,
        signal: controller.signal,
        onProgress: ({ totalBlobs }) => {
          // The layers alone.
          if (totalBlobs === reports[0]?.deep?.layers) controller.abort();
        },
      }),
      (error) => isAirliftError(error, 'interrupted'),
    );
  });

  test('lists the first escapes of a layer and counts the others, with names that a terminal shows', async (t) => {
    const members = Array.from({ length: 25 }, (_, at) => file(`../\x1b[31m${at}`));
    const cargo = [
      { reference: 'registry.example/acme/app:1', image: imageOf({ layers: [layer(members)] }) },
    ];
    const stdout = await verifyDeep(t, cargo, 4);
    assert.equal(stdout.match(/ leaves the root$/gm)?.length, 10);
    assert.match(stdout, /and 15 more entries that leave the root or have invalid names$/m);
    assert.ok(!stdout.includes('\x1b'), stdout);
  });

  test('warns of odd ends, odd media types and a history that does not fit', async (t) => {
    const tar = tarOf([file('a')]);
    const none = types.oci.none;
    const warned = async (
      bytes: Buffer,
      mediaType: string,
      options: Partial<ImageOptions> = {},
    ): Promise<string[]> => {
      const report = await reportOn(
        t,
        [rawLayer(bytes, mediaType, tar.equals(bytes) || mediaType === none ? bytes : tar)],
        options,
      );
      assert.deepEqual(problemsOf(report), []);
      return warningsOf(report);
    };
    assert.deepEqual(await warned(tar.subarray(0, -1024), none), ['no blocks of zeros at the end; want two']);
    assert.deepEqual(await warned(tar.subarray(0, -512), none), ['one block of zeros at the end; want two']);
    assert.deepEqual(await warned(Buffer.concat([tar, Buffer.alloc(9000)]), none), []);
    assert.deepEqual(await warned(Buffer.concat([tar, Buffer.from('hidden')]), none), [
      'content behind the end of the archive, from byte 2048 on',
    ]);
    assert.deepEqual(await warned(gzipSync(tar), types.oci.zstd), [
      'compression differs; got gzip, the media type states zstd',
    ]);
    const history = [{ created_by: 'a' }, { created_by: 'b', empty_layer: true }];
    assert.deepEqual(await warned(tar, none, { config: { history } }), [
      'wrong number of history entries with a layer; got 1, want 2, as the manifest has layers',
    ]);
    assert.deepEqual(await warned(tar, none, { config: { history: [] } }), []);
  });

  test('finds a wrong number of diff_ids, and none', async (t) => {
    const one = layer([file('a')]);
    const rootfs = { type: 'layers', diff_ids: [one.diffId] };
    assert.deepEqual(problemsOf(await reportOn(t, [one], { config: { rootfs } })), [
      'layer: wrong number of rootfs.diff_ids; got 1, want 2, as the manifest has layers',
    ]);
    assert.deepEqual(problemsOf(await reportOn(t, [one], { config: { rootfs: { diff_ids: 'x' } } })), [
      'layer: parse config: no valid rootfs.diff_ids',
    ]);
  });

  test('warns of a platform that the programs contradict, and names the image', async (t) => {
    const arm = layer([{ name: 'bin/app', content: elfFile('linux/arm64'), mode: 0o755 }], {
      compression: 'zstd',
    });
    const lying = imageOf({ platform: 'linux/amd64', layers: [arm] });
    const honest = imageOf({ platform: 'linux/arm64', layers: [arm] });
    const stdout = await verifyDeep(
      t,
      [
        { reference: 'registry.example/acme/lying:1', image: lying },
        { reference: 'registry.example/acme/honest:1', image: honest },
        {
          reference: 'registry.example/acme/mixed:1',
          image: indexOf({ children: [{ image: honest, platform: 'linux/arm64' }] }),
        },
      ],
      0,
    );
    assert.match(
      stdout,
      /^warning: blobs\/sha256\/[0-9a-f]{64}: wrong platform: config says linux\/amd64, executables are arm64\n {2}in registry\.example\/acme\/lying:1 \(linux\/amd64\)$/m,
    );
    assert.equal(stdout.match(/^warning/gm)?.length, 1);
  });

  test('is refused together with --quick and --against', async (t) => {
    const bundle = join(temp(t), 'site.tar');
    await writeBundle(bundle, [
      { reference: 'registry.example/acme/app:1', image: multiPlatform({ name: 'app' }) },
    ]);
    for (const [flags, message] of [
      [['--quick'], /--deep cannot be combined with --quick/],
      [['--against', '127.0.0.1:1'], /--deep cannot be combined with --against/],
    ] as const)
      assert.match((await airlift(['verify', bundle, '--deep', ...flags], { codes: [2] })).stderr, message);
  });
});
