import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { armVariant, parseElfHeader } from '../../../src/archive/platform/elf.js';
import { type PlatformFinding, platformOfFileName } from '../../../src/archive/platform/decide-platform.js';
import { formatPlatform, parsePlatform } from '../../../src/oci/platform.js';
import { busybox, needsBusybox, type BusyboxPlatform } from '../../support/busybox.js';
import { elfFile } from '../../support/elf.js';
import { imageOf, indexOf, layer, type TestImage } from '../../support/images.js';
import { at, finding, image, link, script } from '../../support/platform-finding.js';
import { layoutMembers, savedMembers } from '../../support/saved.js';
import { type TarMember } from '../../support/tar.js';

test('platforms in file names', () => {
  const names: [file: string, platform: string | undefined][] = [
    ['k3s-airgap-images-amd64.tar.gz', 'linux/amd64'],
    ['k3s-airgap-images-arm64.tar.zst', 'linux/arm64'],
    ['k3s-airgap-images-arm.tar', 'linux/arm/v7'],
    ['k3s-airgap-images-armhf.tar', 'linux/arm/v7'],
    ['k3s-airgap-images-s390x.tar', 'linux/s390x'],
    ['rke2-images.linux-arm64.tar.zst', 'linux/arm64'],
    ['rke2-images.windows-amd64.tar.gz', 'windows/amd64'],
    ['app_1.2_linux_x86_64.tar', 'linux/amd64'],
    ['app-x86-64.tar', 'linux/amd64'],
    ['app-aarch64.tar', 'linux/arm64'],
    ['app-arm64-v8.tar', 'linux/arm64'],
    ['app-arm64v8.tar', 'linux/arm64'],
    ['app-armv6.tar', 'linux/arm/v6'],
    ['app-arm-v6.tar', 'linux/arm/v6'],
    ['app_armv7l.tar', 'linux/arm/v7'],
    ['app-arm32v5.tar', 'linux/arm/v5'],
    ['app.i386.tar', 'linux/386'],
    ['app-ppc64el.tar', 'linux/ppc64le'],
    ['/data/amd64/app.tar', undefined],
    ['alarm.tar', undefined],
    ['charm64.tar', undefined],
    ['farm-tools.tar', undefined],
    ['images-amd64-arm64.tar', undefined],
    ['images.tar', undefined],
    ['-', undefined],
  ];
  for (const [file, want] of names) {
    const found = platformOfFileName(file);
    assert.equal(found === undefined ? undefined : formatPlatform(found.platform), want, file);
  }
});

suite('programs', () => {
  test('the architecture in their header', () => {
    const small = ['386', 'riscv32', 'armbe', 'loong32', 'mips', 'mipsle', 'ppc', 's390', 'sparc'];
    const large = ['amd64', 'arm64', 'arm64be', 'loong64', 'mips64', 'mips64le', 'ppc64', 'ppc64le', 's390x'];
    const architectures = [...small, ...large, 'riscv64', 'sparc64'];
    for (const architecture of architectures)
      assert.equal(parseElfHeader(elfFile(`linux/${architecture}`))?.architecture, architecture);
    assert.equal(parseElfHeader(elfFile('linux/arm/v7'))?.architecture, 'arm');
    const whole = elfFile('linux/amd64');
    for (let length = 0; length < 64; length++)
      assert.equal(parseElfHeader(whole.subarray(0, length)), undefined);
    const object = Buffer.from(whole);
    object.writeUInt16LE(1, 16);
    assert.equal(parseElfHeader(object), undefined, 'an object file is no program');
    assert.equal(parseElfHeader(Buffer.from('#!/bin/sh\n'.repeat(10))), undefined);
  });

  test('the arm that real ones need', { skip: needsBusybox() }, async () => {
    for (const [platform, want] of [
      ['linux/amd64', undefined],
      ['linux/arm64', undefined],
      ['linux/arm/v7', 'v7'],
    ] as [BusyboxPlatform, string | undefined][]) {
      const bytes = readFileSync(busybox(platform) ?? '');
      const header = parseElfHeader(bytes.subarray(0, 64));
      assert.ok(header !== undefined);
      assert.equal(header.architecture, platform.split('/')[1]);
      const read = (at: number, length: number): Promise<Buffer> =>
        Promise.resolve(bytes.subarray(at, at + length));
      assert.equal(await armVariant(header, read), want);
      const broken = (at: number, length: number): Promise<Buffer> =>
        Promise.resolve(Buffer.alloc(length, 0xff).subarray(0, at % 50));
      assert.equal(await armVariant(header, broken), undefined);
    }
  });
});

suite('what an image’s programs say', () => {
  const amd64 = at('usr/bin/first', 'linux/amd64');
  const arm = 'linux/arm/v7';
  const cases: [name: string, layers: TarMember[][], run: Record<string, unknown>][] = [
    ['an entrypoint', [[amd64, at('app', arm)]], { Entrypoint: ['/app', 'x'] }],
    ['a command', [[amd64, at('bin/app', arm)]], { Entrypoint: null, Cmd: ['/bin/app'] }],
    [
      'a name to be looked for in PATH',
      [[amd64, at('opt/x/app', arm)]],
      { Cmd: ['app'], Env: ['PATH=/bin:/opt/x'] },
    ],
    ['a name without PATH', [[amd64, at('usr/sbin/app', arm)]], { Cmd: ['app'] }],
    [
      'a path from the working directory',
      [[amd64, at('srv/bin/app', arm)]],
      { Cmd: ['bin/app'], WorkingDir: '/srv' },
    ],
    [
      'links, in folders too',
      [[amd64, link('bin', 'usr/bin'), link('usr/bin/sh', '/lib/busybox')], [at('lib/busybox', arm)]],
      { Cmd: ['/bin/sh'] },
    ],
    [
      'a hard link',
      [[amd64, at('bin/busybox', arm), { name: 'bin/sh', type: 'link', target: 'bin/busybox' }]],
      { Cmd: ['/bin/sh'] },
    ],
    ['a script', [[amd64, script('run', '#!/bin/ash -e'), at('bin/ash', arm)]], { Cmd: ['/run'] }],
    [
      'a script by env',
      [[amd64, script('run', '#!/usr/bin/env node'), at('usr/local/bin/node', arm)]],
      { Cmd: ['/run'] },
    ],
    ['the upper of two layers', [[amd64, at('app', 'linux/amd64')], [at('app', arm)]], { Cmd: ['/app'] }],
    [
      'one that a layer took away, so another',
      [[at('app', 'linux/amd64'), at('bin/other', arm)], [{ name: '.wh.app' }]].map((members) => members),
      { Cmd: ['/app'], Env: ['PATH=/none'] },
    ],
    [
      'the first in a bin folder, where nothing is started',
      [[at('lib/x.so', 'linux/amd64'), at('usr/bin/x', arm)]],
      {},
    ],
    ['a library, if there are no programs', [[at('lib/x.so', arm)]], {}],
    [
      'one that is no emulator',
      [[at('usr/bin/qemu-x86_64-static', 'linux/amd64'), at('usr/bin/x', arm)]],
      {},
    ],
    [
      'a link that leads in a circle, so another',
      [[link('app', 'app2'), link('app2', 'app'), at('bin/x', arm)]],
      { Cmd: ['/app'] },
    ],
  ];
  for (const [name, layers, run] of cases) {
    for (const compression of ['none', 'gzip'] as const) {
      test(`${name}, ${compression === 'none' ? 'in a plain layer' : 'in a gzipped one'}`, async (t) => {
        const members = layoutMembers([{ name: 'a/b:1', image: image(layers, run, { compression }) }]);
        const found = await finding(t, members, 'x.tar');
        assert.equal(found?.contradiction, 'config says linux/amd64, executables are arm');
        assert.equal(formatPlatform(found.platform), 'linux/arm/v7');
        assert.equal(found.agreesWithConfig, false);
      });
    }
  }

  test('nothing without programs, and nothing if the check is off', async (t) => {
    const silent = layoutMembers([
      { name: 'a/b:1', image: image([[{ name: 'etc/passwd', content: 'x' }]], {}) },
    ]);
    assert.equal((await finding(t, silent, 'x.tar'))?.contradiction, undefined);
    const lying = layoutMembers([{ name: 'a/b:1', image: image([[at('app', arm)]], {}) }]);
    assert.equal((await finding(t, lying, 'x.tar', { checkPrograms: false }))?.contradiction, undefined);
    const broken = imageOf({ platform: 'linux/amd64', layers: [layer([], { compression: 'none' })] });
    assert.equal(
      (await finding(t, layoutMembers([{ name: 'a/b:1', image: broken }]), 'x.tar'))?.contradiction,
      undefined,
    );
  });

  test('64-bit machines run the 32-bit programs of their family, in every family', async (t) => {
    const pairs: [architecture: string, program: string][] = [
      ['amd64', '386'],
      ['arm64', 'arm/v7'],
      ['arm64be', 'armbe'],
      ['loong64', 'loong32'],
      ['mips64', 'mips'],
      ['mips64le', 'mipsle'],
      ['ppc64', 'ppc'],
      ['riscv64', 'riscv32'],
      ['s390x', 's390'],
      ['sparc64', 'sparc'],
    ];
    const found = (config: string, program: string): Promise<PlatformFinding | undefined> => {
      const layers = [layer([at('app', `linux/${program}`)], { compression: 'none' })];
      const built = imageOf({ platform: `linux/${config}`, layers, config: { config: { Cmd: ['/app'] } } });
      return finding(t, layoutMembers([{ name: 'a/b:1', image: built }]), 'x.tar');
    };
    for (const [wide, narrow] of pairs) {
      const whole = await found(wide, narrow);
      assert.equal(whole?.contradiction, undefined, wide);
      assert.equal(whole?.platform.architecture, wide);
      const reverse = await found(narrow, wide);
      assert.equal(reverse?.platform.architecture, wide, `${narrow} runs no program for ${wide}`);
      for (const [other] of pairs.filter(([architecture]) => architecture !== wide)) {
        const [name = ''] = narrow.split('/');
        assert.equal((await found(other, narrow))?.platform.architecture, name, `${narrow} on ${other}`);
      }
    }
  });
});

suite('which claim wins', () => {
  const run = { Cmd: ['/app'] };
  const build = (config: string, program: string | undefined, variant?: string): TestImage =>
    imageOf({
      platform: config,
      layers: [layer(program === undefined ? [] : [at('app', program)], { compression: 'none' })],
      config: { config: run, ...(variant === undefined ? {} : { variant }) },
    });
  const cases: [
    name: string,
    image: TestImage,
    file: string,
    arch: string | undefined,
    want: string,
    contradiction: string | undefined,
  ][] = [
    [
      'config, where all agree',
      build('linux/arm64', 'linux/arm64'),
      'x-arm64.tar',
      undefined,
      'linux/arm64',
      undefined,
    ],
    [
      'programs over config',
      build('linux/amd64', 'linux/arm/v7'),
      'x.tar',
      undefined,
      'linux/arm/v7',
      'config says linux/amd64, executables are arm',
    ],
    [
      'the file name, where programs agree with it',
      build('linux/amd64', 'linux/arm/v6'),
      'x-armv6.tar',
      undefined,
      'linux/arm/v6',
      'config says linux/amd64, executables are arm',
    ],
    [
      'config over the file name, without programs',
      build('linux/arm64', undefined),
      'x-amd64.tar',
      undefined,
      'linux/arm64',
      'file name says amd64, config says linux/arm64',
    ],
    [
      'config and programs over the file name',
      build('linux/arm64', 'linux/arm64'),
      'x-amd64.tar',
      undefined,
      'linux/arm64',
      'file name says amd64, executables are arm64',
    ],
    [
      'the variant of the file name, where config has none',
      build('linux/arm', 'linux/arm/v6'),
      'x-armv6.tar',
      undefined,
      'linux/arm/v6',
      undefined,
    ],
    [
      'the variant of the config',
      build('linux/arm/v6', 'linux/arm/v6'),
      'x-arm.tar',
      undefined,
      'linux/arm/v6',
      undefined,
    ],
    [
      '--arch over everything',
      build('linux/amd64', 'linux/arm/v7'),
      'x-arm64.tar',
      'linux/s390x',
      'linux/s390x',
      '`archives.platforms` says linux/s390x, config says linux/amd64, file name says arm64, executables are arm',
    ],
    [
      '--arch, for the variant',
      build('linux/arm', 'linux/arm/v7'),
      'x.tar',
      'linux/arm/v5',
      'linux/arm/v5',
      undefined,
    ],
  ];
  for (const [name, built, file, arch, want, contradiction] of cases) {
    test(name, async (t) => {
      const members = savedMembers('docker-20', [{ tags: ['a/b:1'], image: built }]);
      const platform = arch === undefined ? undefined : parsePlatform(arch);
      const found = await finding(t, members, file, { platform });
      assert.equal(found === undefined ? undefined : formatPlatform(found.platform), want);
      assert.equal(found?.contradiction, contradiction);
    });
  }

  test('an index entry over the config, and never the file name', async (t) => {
    const lying = build('linux/amd64', 'linux/arm/v7');
    const index = indexOf({ children: [{ image: lying, platform: 'linux/arm/v7' }] });
    const found = await finding(t, layoutMembers([{ name: 'a/b:1', image: index }]), 'x-amd64.tar');
    assert.equal(found?.contradiction, 'config says linux/amd64, executables are arm');
    assert.equal(found.agreesWithEntry, true);
  });

  test('programs that need a later arm variant than stated', { skip: needsBusybox() }, async (t) => {
    const content = readFileSync(busybox('linux/arm/v7') ?? '');
    const v6 = imageOf({
      platform: 'linux/arm/v6',
      layers: [layer([{ name: 'app', content, mode: 0o755 }], { compression: 'none' })],
      config: { config: run },
    });
    const found = await finding(t, savedMembers('podman', [{ tags: ['a/b:1'], image: v6 }]), 'x.tar');
    assert.equal(found?.contradiction, 'executables need arm/v7');
    assert.equal(formatPlatform(found.platform), 'linux/arm/v6');
  });
});
