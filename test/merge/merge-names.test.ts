import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import type { Archive } from '../../src/archive/read/archive.js';
import { NameRules } from '../../src/merge/name-rules.js';
import { openArchive } from '../../src/archive/read/open.js';
import { mergeArchives, type Merged } from '../../src/merge/merge-archives.js';
import type { MergedEvent } from '../../src/merge/merge-names.js';
import { isAirliftError } from '../../src/errors.js';
import { formatPlatform } from '../../src/oci/platform.js';
import { formatReference, parseReference } from '../../src/oci/reference.js';
import { airlift } from '../support/airlift.js';
import { cosignOf } from '../support/artifacts.js';
import { elfFile } from '../support/elf.js';
import { failsWith } from '../support/errors.js';
import { imageOf, indexOf, layer, type TestImage } from '../support/images.js';
import { layoutMembers, savedMembers } from '../support/saved.js';
import { tarOf, type TarMember } from '../support/tar.js';
import { temp } from '../support/temp.js';

function image(platform: string, text = platform): TestImage {
  const members = [{ name: 'bin/app', content: elfFile(platform, text), mode: 0o755 }];
  return imageOf({ platform, layers: [layer(members, { compression: 'none' })] });
}

type Input = readonly TarMember[];
const named = (name: string, content: TestImage): Input => layoutMembers([{ name, image: content }]);

interface Result extends Merged {
  readonly names: Readonly<Record<string, readonly string[]>>;
  readonly events: readonly MergedEvent[];
  readonly warnings: readonly string[];
}

async function files(t: TestContext, inputs: readonly Input[]): Promise<string[]> {
  const dir = temp(t);
  const paths = inputs.map((_, at) => join(dir, `${String.fromCharCode(97 + at)}.tar`));
  for (const [at, path] of paths.entries()) await writeFile(path, tarOf(inputs[at] ?? []));
  return paths;
}

async function merged(
  t: TestContext,
  rules: readonly string[],
  inputs: readonly Input[],
  strictPlatforms = false,
): Promise<Result> {
  const nameRules = rules.length === 0 ? undefined : new NameRules(rules);
  const archives: Archive[] = [];
  t.after(() => Promise.all(archives.map((archive) => archive.close())).then(() => undefined));
  for (const path of await files(t, inputs)) archives.push(await openArchive(path, { nameRules }));
  const [events, warnings]: [MergedEvent[], string[]] = [[], []];
  const result = await mergeArchives(archives, {
    nameRules,
    strictPlatforms,
    onMerged: (event) => events.push(event),
    warn: (text) => warnings.push(text.replaceAll(/\/\S+\//g, '')),
  });
  const names = result.images.map(({ reference, children }) => [
    formatReference(reference),
    children.map(({ platform }) => formatPlatform(platform)).sort(),
  ]);
  return { ...result, events, warnings, names: Object.fromEntries(names) as Result['names'] };
}

const failsSync = (work: () => unknown, code: 'usage', message: RegExp): void =>
  assert.throws(work, (error) => isAirliftError(error, code) && message.test(error.message), String(message));

const both = ['linux/amd64', 'linux/arm64'];

suite('names that carry an architecture', () => {
  const shapes: [rule: string, names: [string, string], want: string][] = [
    ['*:{tag}-{arch}=*:{tag}', ['team/app:1.0-amd64', 'team/app:1.0-arm64'], 'docker.io/team/app:1.0'],
    [
      '*:{tag}-{arch}=*:{tag}',
      ['site:5000/x/app:1.0-linux-amd64', 'site:5000/x/app:1.0-linux-arm64-v8'],
      'site:5000/x/app:1.0',
    ],
    ['*:{tag}-{arch}=*:{tag}', ['app:1.0-x86_64', 'app:1.0-aarch64'], 'docker.io/library/app:1.0'],
    ['*:{arch}-{tag}=*:{tag}', ['quay.io/a/b:amd64-v8.1', 'quay.io/a/b:arm64-v8.1'], 'quay.io/a/b:v8.1'],
    ['*:{arch}=*:latest', ['quay.io/a/b:amd64', 'quay.io/a/b:arm64'], 'quay.io/a/b:latest'],
    [
      '*-{arch}=*',
      ['registry.k8s.io/pause-amd64:3.1', 'registry.k8s.io/pause-arm64:3.1'],
      'registry.k8s.io/pause:3.1',
    ],
    ['{arch}/*=*', ['amd64/alpine:3.20', 'arm64v8/alpine:3.20'], 'docker.io/library/alpine:3.20'],
    [
      'quay.io/{arch}/*=quay.io/multi/*',
      ['quay.io/amd64/x/y:1', 'quay.io/arm64/x/y:1'],
      'quay.io/multi/x/y:1',
    ],
    [
      'localhost/*_{arch}:{tag}=acme.test/*:{tag}',
      ['localhost/app_amd64:1', 'localhost/app_arm64:1'],
      'acme.test/app:1',
    ],
  ];
  for (const [rule, [amd64, arm64], want] of shapes) {
    test(`${amd64} and ${arm64} become ${want} by ${rule}`, async (t) => {
      const inputs = [named(amd64, image('linux/amd64')), named(arm64, image('linux/arm64'))];
      for (const order of [inputs, inputs.toReversed()])
        assert.deepEqual((await merged(t, [rule], order)).names, { [want]: both });
    });
  }

  test('auto knows the usual forms, and renames only images that merge with others', async (t) => {
    for (const [, [amd64, arm64], want] of shapes.slice(0, 7)) {
      const inputs = [named(amd64, image('linux/amd64')), named(arm64, image('linux/arm64'))];
      const others = [
        named('a/qemu-arm:1', image('linux/amd64', 'q')),
        named('a/b:1-amd64', image('linux/amd64', 'b')),
      ];
      assert.deepEqual((await merged(t, ['auto'], [...inputs, ...others])).names, {
        [want]: both,
        'docker.io/a/qemu-arm:1': ['linux/amd64'],
        'docker.io/a/b:1-amd64': ['linux/amd64'],
      });
    }
  });

  test('several images of one docker-archive merge, with those of others', async (t) => {
    const one = savedMembers('docker-20', [
      { tags: ['app:1-amd64'], image: image('linux/amd64') },
      { tags: ['app:1-arm64'], image: image('linux/arm64') },
      { tags: ['other:1'], image: image('linux/amd64', 'other') },
    ]);
    const two = savedMembers('podman', [{ tags: ['app:1-armhf'], image: image('linux/arm/v7') }]);
    const result = await merged(t, ['*:{tag}-{arch}=*:{tag}'], [one, two]);
    assert.deepEqual(result.names, {
      'docker.io/library/app:1': ['linux/amd64', 'linux/arm/v7', 'linux/arm64'],
      'docker.io/library/other:1': ['linux/amd64'],
    });
    assert.deepEqual(
      result.events.map(({ image: name, from }) => [
        name,
        from.map((part) => `${part.name} ${part.platforms.join()}`),
      ]),
      [['app:1', ['app:1-amd64 linux/amd64', 'app:1-arm64 linux/arm64', 'app:1-armhf linux/arm/v7']]],
    );
  });

  test('indexes of one platform each merge, as those of Docker Hub’s amd64/… and arm64v8/…', async (t) => {
    const inputs = both.map((platform, at) =>
      named(
        `${['amd64', 'arm64v8'][at]}/alpine:3`,
        indexOf({ children: [{ image: image(platform), platform }] }),
      ),
    );
    assert.deepEqual((await merged(t, ['{arch}/*=*'], inputs)).names, { 'docker.io/library/alpine:3': both });
  });

  test('the name supplies the variant that a config omits', async (t) => {
    const config = { variant: undefined };
    const arm = imageOf({ platform: 'linux/arm', config, layers: [layer([{ name: 'x', content: 'x' }])] });
    assert.deepEqual((await merged(t, ['{arch}/*=*'], [named('arm32v6/x:1', arm)])).names, {
      'docker.io/library/x:1': ['linux/arm/v6'],
    });
  });

  test('two images for one platform are a conflict that states their names', async (t) => {
    const inputs = [
      layoutMembers([
        { name: 'a/b:1-amd64', image: image('linux/amd64') },
        { name: 'a/b:1-x86_64', image: image('linux/amd64', 'another') },
      ]),
    ];
    await failsWith(
      merged(t, ['*:{tag}-{arch}=*:{tag}'], inputs),
      'conflict',
      /merge a\/b:1: two different images for linux\/amd64; got sha256:\S+ of a\/b:1-(amd64|x86_64) in \S+a\.tar and sha256:\S+ of a\/b:1-(amd64|x86_64) in \S+a\.tar/,
    );
  });

  test('a name with a wrong architecture is reported', async (t) => {
    const inputs = [
      named('a/b:1-amd64', image('linux/amd64')),
      named('a/b:1-arm64', indexOf({ children: [{ image: image('linux/s390x'), platform: 'linux/s390x' }] })),
      named('a/c:1-arm64', image('linux/amd64', 'c')),
    ];
    const { warnings } = await merged(t, ['*:{tag}-{arch}=*:{tag}'], inputs);
    assert.deepEqual(warnings, [
      "a/b:1-arm64 in b.tar: the image's name says linux/arm64, but it holds linux/s390x",
      'a/c:1 in c.tar: image name says arm64, executables are amd64; published as linux/amd64',
    ]);
  });

  test('one image under the names of two architectures is reported, and an error with --strict-platforms', async (t) => {
    const one = image('linux/amd64');
    const inputs = [layoutMembers(['a/b:1-amd64', 'a/b:1-arm64'].map((name) => ({ name, image: one })))];
    const rules = ['*:{tag}-{arch}=*:{tag}'];
    const warning = "a/b:1-arm64 in a.tar: the image's name says linux/arm64, but it holds linux/amd64";
    const { warnings, names } = await merged(t, rules, inputs);
    assert.deepEqual(warnings, [warning]);
    assert.deepEqual(names, { 'docker.io/a/b:1': ['linux/amd64'] });
    await failsWith(
      merged(t, rules, inputs, true),
      'conflict',
      /says linux\/arm64, but it holds linux\/amd64/,
    );
  });

  test('signatures under tags follow their image', async (t) => {
    const amd64 = image('linux/amd64');
    const signature = cosignOf(amd64, 'sig');
    const inputs = [
      layoutMembers([
        { name: 'amd64/b:1', image: amd64 },
        { name: `amd64/b:${signature.tag}`, image: signature.image },
      ]),
      named('arm64v8/b:1', image('linux/arm64')),
    ];
    const { images } = await merged(t, ['{arch}/*=*'], inputs);
    const names = images.map(({ reference, root }) => [formatReference(reference), root.digest]);
    assert.equal(images.length, 2);
    assert.deepEqual(names[1], [`docker.io/library/b:${signature.tag}`, signature.image.root.digest]);
  });

  test('rules that are malformed or match nothing are reported', () => {
    const wrong: [rule: string, message: RegExp][] = [
      ['x', /not PATTERN=TARGET/],
      ['*:{tag}-{arch}', /not PATTERN=TARGET/],
      ['=x', /not PATTERN=TARGET/],
      ['*:{tag}={name}:{tag}', /"\{name\}" is not allowed in a name/],
      ['*/*-{arch}=*', /the pattern has a placeholder twice/],
      ['x-{arch}=*', /the target has \*, which the pattern lacks/],
      ['a b-{arch}=x', /is not allowed in a name/],
      [`${'x'.repeat(700)}=y`, /too long/],
    ];
    for (const [rule, message] of wrong) failsSync(() => new NameRules([rule]), 'usage', message);
    const names = ['a/b:1-amd64', 'a/b:2'].map(parseReference);
    failsSync(
      () => new NameRules(['*:{tag}-{arch}=*:{tag}', '{arch}/*=*']).merge(names),
      'usage',
      /"\{arch\}\/\*=\*": matches no name; got a\/b:1-amd64, a\/b:2/,
    );
    failsSync(
      () => new NameRules(['auto']).merge(names),
      'usage',
      /no two names differ only in their architecture/,
    );
    failsSync(
      () => new NameRules(['*:{tag}-{arch}=*_:{tag}']).merge(names),
      'usage',
      /turns docker\.io\/a\/b:1-amd64 into "docker\.io\/a\/b_:1", which is not a valid name/,
    );
    // A pattern with wildcards is matched quickly even against a long name.
    const long = `acme.test/${'a-'.repeat(60)}b:${'1-'.repeat(60)}z`;
    assert.equal(new NameRules(['auto']).platformOf([long]), undefined);
  });

  test('import, import -o and save take the flag, and --dry-run shows what would be merged and writes nothing', async (t) => {
    const inputs = await files(t, [
      named('team/app:1.0-amd64', image('linux/amd64')),
      named('team/app:1.0-arm64', image('linux/arm64')),
    ]);
    const dir = temp(t);
    const flags = ['--merge-names', '*:{tag}-{arch}=*:{tag}'];
    const out = join(dir, 'out.tar');
    const commands = [
      ['import', ...inputs, '--to', 'site:5000', ...flags],
      ['import', ...inputs, '-o', out, ...flags],
      ['save', ...inputs, '--format', 'oci-archive', '-o', out, ...flags],
    ];
    for (const command of commands) {
      const { stdout, stderr } = await airlift([...command, '--dry-run']);
      assert.match(
        stderr,
        /^merged team\/app:1\.0: team\/app:1\.0-amd64 in \S+a\.tar \(linux\/amd64\), team\/app:1\.0-arm64 in \S+b\.tar \(linux\/arm64\)$/m,
      );
      assert.match(stdout, /team\/app:1\.0 +/);
      assert.equal(stdout.trim().split('\n').length, 2);
      assert.deepEqual(readdirSync(dir), []);
    }
    const digests = [];
    for (const command of commands.slice(1)) {
      await airlift([...command, '--force']);
      assert.ok(existsSync(out));
      const { stdout } = await airlift(['import', out, '--to', 'site:5000', '--dry-run']);
      digests.push(/docker\.io\/team\/app:1\.0 +site:5000\/team\/app:1\.0 +(\S+)/.exec(stdout)?.[1]);
    }
    assert.match(digests[0] ?? '', /^sha256:/);
    assert.equal(digests[0], digests[1]);
    // A bundle's names are merged as well.
    await airlift(['import', ...inputs, '-o', out, '--force']);
    const { stderr } = await airlift([
      'import',
      out,
      '--to',
      'site:5000',
      '--dry-run',
      '--merge-names',
      'auto',
    ]);
    assert.match(stderr, /^merged team\/app:1\.0: /m);
  });

  test('flags for publishing are refused when a bundle is written', async (t) => {
    const [input = ''] = await files(t, [named('a/b:1', image('linux/amd64'))]);
    const out = join(temp(t), 'x.tar');
    for (const flag of [
      ['--arch-tags'],
      ['--rename', 'a/*=b/*'],
      ['--keep-registry'],
      ['--emit', 'x'],
      ['--atomic'],
    ]) {
      const { stderr } = await airlift(['import', input, '-o', out, ...flag], { codes: [2] });
      assert.match(stderr, new RegExp(`import --output: ${flag[0]} applies only to publishing with --to`));
    }
    assert.equal(existsSync(out), false);
  });
});

suite('images of podman without a registry, and of docker', () => {
  test('become one where their platforms complement each other, and this is reported', async (t) => {
    for (const repository of ['app', 'team/app']) {
      const docker = `docker.io/${repository.includes('/') ? '' : 'library/'}${repository}:1`;
      const { names, events } = await merged(
        t,
        [],
        [
          named(`localhost/${repository}:1`, image('linux/arm64')),
          named(`${repository}:1`, image('linux/amd64')),
        ],
      );
      assert.deepEqual(names, { [docker]: both });
      assert.deepEqual(
        events.map(({ from }) => from.map(({ name }) => name)),
        [[`localhost/${repository}:1`, `${repository}:1`]],
      );
    }
  });

  test('stay two where both are for one platform, and keep their own name alone', async (t) => {
    const arm = named('localhost/app:1', image('linux/arm64'));
    const two = await merged(t, [], [arm, named('app:1', image('linux/arm64', 'other'))]);
    assert.deepEqual(Object.keys(two.names).sort(), ['docker.io/library/app:1', 'localhost/app:1']);
    assert.deepEqual(Object.keys((await merged(t, [], [arm])).names), ['localhost/app:1']);
  });
});
