import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { parseRegistriesConf, readRegistriesConf } from '../../../src/registry/config/registries-conf.js';
import { temp } from '../../support/temp.js';

it('reads registries with mirrors', () => {
  const rules = parseRegistriesConf(
    `unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io"
location = "docker.io"
insecure = true
[[registry.mirror]]
location = "mirror.corp:5000/hub/"
insecure = true
[[registry.mirror]]
location = "other.corp"
pull-from-mirror = "tag-only"
[[registry]]
location = "bad.test"
blocked = true
[[registry]]
prefix = "*.corp"
location = "gate.corp"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.corp"
`,
    'x.conf',
  );
  assert.deepEqual(rules, [
    {
      prefix: 'docker.io',
      location: undefined,
      insecure: true,
      blocked: false,
      mirrors: [
        { location: 'mirror.corp:5000/hub', insecure: true, serves: 'all' },
        { location: 'other.corp', insecure: false, serves: 'tags' },
      ],
      origin: 'x.conf',
    },
    {
      prefix: 'bad.test',
      location: undefined,
      insecure: false,
      blocked: true,
      mirrors: [],
      origin: 'x.conf',
    },
    {
      prefix: '*.corp',
      location: 'gate.corp',
      insecure: false,
      blocked: false,
      mirrors: [{ location: 'm.corp', insecure: false, serves: 'digests' }],
      origin: 'x.conf',
    },
  ]);
});

it('reports malformed tables', () => {
  for (const [text, code] of [
    ['[[registry', 'input'],
    ['[registry]\nlocation="a.test"', 'input'],
    ['[[registry]]\ninsecure=true', 'input'],
    ['[[registry]]\nlocation="http://a.test"', 'input'],
    ['[[registry]]\nlocation="a.test"\nblocked="yes"', 'input'],
    ['[[registry]]\nlocation="a.test"\n[[registry.mirror]]\ninsecure=true', 'input'],
    [
      '[[registry]]\nlocation="a.test"\n[[registry.mirror]]\nlocation="b"\npull-from-mirror="toString"',
      'input',
    ],
    ['[registries.search]\nregistries=["x"]', 'unsupported'],
  ] as const)
    assert.throws(() => parseRegistriesConf(text, '/etc/x.conf'), {
      code,
      message: /^parse (\/etc\/x\.conf|mirror )/,
    });
});

it('reads the first file that exists, and drop-ins that override it', async (t) => {
  const dir = temp(t);
  const conf = (location: string, mirror: string): string =>
    `[[registry]]\nlocation="${location}"\n[[registry.mirror]]\nlocation="${mirror}"\n`;
  await mkdir(join(dir, 'conf.d'));
  await writeFile(join(dir, 'one.conf'), conf('a.test', 'one.test'));
  await writeFile(join(dir, 'two.conf'), conf('b.test', 'two.test'));
  await writeFile(join(dir, 'conf.d', '10.conf'), conf('a.test', 'ten.test'));
  await writeFile(join(dir, 'conf.d', '20.conf'), conf('c.test', 'twenty.test'));
  await writeFile(join(dir, 'conf.d', 'README'), 'not toml [');
  const files = ['none.conf', 'one.conf', 'two.conf'].map((name) => join(dir, name));
  const rules = await readRegistriesConf(files, [join(dir, 'none.d'), join(dir, 'conf.d')]);
  assert.deepEqual(
    rules.map(({ prefix, mirrors }) => [prefix, mirrors[0]?.location]),
    [
      ['a.test', 'ten.test'],
      ['c.test', 'twenty.test'],
    ],
  );
});
