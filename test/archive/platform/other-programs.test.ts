import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import type { Archive } from '../../../src/archive/read/archive.js';
import { openArchive } from '../../../src/archive/read/open.js';
import { mergeArchives } from '../../../src/merge/merge-archives.js';
import { formatPlatform } from '../../../src/oci/platform.js';
import { readContent } from '../../../src/oci/read.js';
import { imageOf, indexOf, layer } from '../../support/images.js';
import { at, finding, image, script } from '../../support/platform-finding.js';
import { layoutMembers, savedMembers } from '../../support/saved.js';
import { tarOf, type TarMember } from '../../support/tar.js';
import { temp } from '../../support/temp.js';

suite('programs that are not what an image starts', () => {
  const arm64 = 'linux/arm64';
  const cases: [name: string, members: TarMember[], run: Record<string, unknown>][] = [
    [
      'a tool for another machine beside the program',
      [at('usr/bin/tool', arm64), at('app', 'linux/amd64')],
      { Cmd: ['/app'] },
    ],
    ['one tool for another machine, where nothing is started', [at('usr/bin/tool', arm64)], {}],
    [
      'tools for many machines, where nothing is started',
      [at('bin/arm', arm64), at('bin/x86', 'linux/amd64')],
      {},
    ],
    [
      'a tool for another machine beside a program that is not found',
      [at('usr/bin/tool', arm64)],
      { Cmd: ['/gone'] },
    ],
    [
      'a script whose interpreter is missing',
      [script('run', '#!/opt/jvm'), at('bin/tool', arm64)],
      { Cmd: ['/run'] },
    ],
    [
      'an emulator that is started',
      [at('usr/bin/qemu-aarch64-static', arm64), at('bin/app', 'linux/amd64')],
      { Cmd: ['/usr/bin/qemu-aarch64-static', '-L', '/', '/bin/app'] },
    ],
    [
      'an emulator that is started and is missing',
      [at('bin/tool', arm64), at('srv/app', 'linux/amd64')],
      { Cmd: ['qemu-x86_64', '/srv/app'] },
    ],
    ['other emulators', [at('usr/bin/box64', arm64), at('usr/bin/FEXInterpreter', arm64)], {}],
    [
      'a script by env with settings',
      [script('run', '#!/usr/bin/env -S LANG=C sh'), at('bin/sh', 'linux/amd64'), at('bin/a', arm64)],
      { Cmd: ['/run'] },
    ],
  ];
  for (const [name, members, run] of cases) {
    test(`${name}: config and file name hold`, async (t) => {
      const saved = savedMembers('docker-20', [{ tags: ['a/b:1'], image: image([members], run) }]);
      const found = await finding(t, saved, 'x-amd64.tar');
      assert.equal(found === undefined ? undefined : formatPlatform(found.platform), 'linux/amd64');
    });
    test(`${name}: config and index hold`, async (t) => {
      const index = indexOf({ children: [{ image: image([members], run), platform: 'linux/amd64' }] });
      const found = await finding(t, layoutMembers([{ name: 'a/b:1', image: index }]), 'x-arm64.tar');
      assert.equal(found?.agreesWithEntry, true);
      assert.equal(found.agreesWithConfig, true);
    });
  }

  test('a started program that contradicts both the claims and the other programs is reported', async (t) => {
    const members = [
      at('app', arm64),
      at('bin/a', 'linux/amd64'),
      at('bin/b', 'linux/amd64'),
      at('bin/c', arm64),
    ];
    const saved = savedMembers('docker-20', [
      { tags: ['a/b:1'], image: image([members], { Cmd: ['/app'] }) },
    ]);
    const held = await finding(t, saved, 'x-amd64.tar');
    assert.equal(held?.platform.architecture, 'amd64');
    assert.equal(held.contradiction, 'config says linux/amd64, file name says amd64, executables are arm64');
    // The program decides if config and file name differ, if only the config names a platform, or if no program matches the claims.
    assert.equal((await finding(t, saved, 'x-s390x.tar'))?.platform.architecture, 'arm64');
    assert.equal((await finding(t, saved, 'x.tar'))?.platform.architecture, 'arm64');
    const alone = [at('bin/app', arm64), at('bin/c', arm64)];
    const lying = savedMembers('docker-20', [
      { tags: ['a/b:1'], image: image([alone], { Cmd: ['/bin/app'] }) },
    ]);
    assert.equal((await finding(t, lying, 'x-amd64.tar'))?.platform.architecture, 'arm64');
  });

  test('an image of only tools for several machines needs one that the config’s machine can run', async (t) => {
    const members = [at('bin/arm', arm64), at('bin/arm-2', arm64), at('bin/x86', 'linux/386')];
    const saved = savedMembers('docker-20', [{ tags: ['a/b:1'], image: image([members], {}) }]);
    const found = await finding(t, saved, 'x.tar');
    assert.equal(found?.platform.architecture, 'amd64');
    assert.equal(found.contradiction, undefined);
  });

  test('the file name over the config, if it names exactly the machine of the programs', async (t) => {
    const saved = savedMembers('docker-20', [
      { tags: ['a/b:1'], image: image([[at('app', 'linux/386')]], { Cmd: ['/app'] }) },
    ]);
    const found = await finding(t, saved, 'app-i386.tar');
    assert.equal(found?.platform.architecture, '386');
    assert.equal(found.contradiction, 'config says linux/amd64, executables are 386');
  });
});

test('an index of merged archives has Go’s names of architectures only', async (t) => {
  const words: [word: string, want: Record<string, string>][] = [
    ['x86_64', { architecture: 'amd64', os: 'linux' }],
    ['aarch64', { architecture: 'arm64', os: 'linux' }],
    ['armhf', { architecture: 'arm', os: 'linux', variant: 'v7' }],
    ['armv7l', { architecture: 'arm', os: 'linux', variant: 'v7' }],
    ['i686', { architecture: '386', os: 'linux' }],
    ['ppc64el', { architecture: 'ppc64le', os: 'linux' }],
    ['mips64el', { architecture: 'mips64le', os: 'linux' }],
    ['loongarch64', { architecture: 'loong64', os: 'linux' }],
    // A property name of every JavaScript object is not an architecture alias.
    ['constructor', { architecture: 'constructor', os: 'linux' }],
  ];
  for (const [word, want] of words) {
    const built = imageOf({ platform: 'linux/amd64', config: { architecture: word }, layers: [layer([])] });
    const other = imageOf({ platform: 'linux/s390x', layers: [layer([])] });
    const entries = {
      config: [built, other],
      index: [indexOf({ children: [{ image: built, platform: `linux/${word}` }] }), other],
    };
    for (const [who, images] of Object.entries(entries)) {
      const archives: Archive[] = [];
      for (const [at, one] of images.entries()) {
        const path = join(temp(t), `${at}.tar`);
        await writeFile(path, tarOf(layoutMembers([{ name: 'a/b:1', image: one }])));
        archives.push(await openArchive(path));
        t.after(() => archives[at]?.close());
      }
      const merged = await mergeArchives(archives);
      const [{ root } = assert.fail()] = merged.images;
      const index = await readContent(merged.source, { registry: 'r.test', repository: 'a/b' }, root);
      const { manifests } = JSON.parse(index.toString()) as { manifests: { platform: unknown }[] };
      assert.deepEqual(
        manifests
          .map(({ platform }) => platform)
          .find((platform) => (platform as { architecture: string }).architecture !== 's390x'),
        want,
        `${word} in the ${who}`,
      );
    }
  }
});
