import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import { parse, parseAllDocuments } from 'yaml';
import { isAirliftError } from '../../src/errors.js';
import { digestOf } from '../../src/oci/digest.js';
import { formatRepository, parseReference } from '../../src/oci/reference.js';
import { emitNodeFiles } from '../../src/site/emit.js';
import { mapNames, parseSite, siteRepository, type Site, type SiteName } from '../../src/site/names.js';
import { parseRenameRule } from '../../src/site/rename.js';

const unmapped = 'airlift-not-mapped/';

/** Resolves a name as one kind of node does: to a path at the site, 'fails', or 'internet'. */
type Consumer = (registry: string, repository: string) => string;

function longestPrefix(name: string, prefixes: readonly string[]): number {
  let best = -1;
  prefixes.forEach((prefix, at) => {
    if (name !== prefix && !name.startsWith(`${prefix}/`)) return;
    if (best < 0 || prefix.length > (prefixes[best] ?? '').length) best = at;
  });
  assert.equal(new Set(prefixes).size, prefixes.length, 'no prefix has two entries');
  return best;
}

/** Readers of the files, independent of the code that writes them. */
function consumersOf(host: string, files: ReadonlyMap<string, string>): Record<string, Consumer> {
  const conf = parseToml(files.get('registries.conf') ?? '') as {
    registry?: { prefix: string; location: string; blocked?: boolean }[];
  };
  const [digests] = parseAllDocuments(files.get('openshift/mirror-sets.yaml') ?? '').map(
    (document) =>
      document.toJS() as { spec: { imageDigestMirrors: { source: string; mirrors: [string] }[] } },
  );
  const sets = digests?.spec.imageDigestMirrors ?? [];
  const { mirrors } = parse(files.get('registries.yaml') ?? '') as {
    mirrors: Record<string, { endpoint: string[]; rewrite?: Record<string, string> } | undefined>;
  };
  const atSite = (location: string): string => {
    assert.ok(location.startsWith(`${host}/`), location);
    const path = location.slice(host.length + 1);
    return path.startsWith(unmapped) ? 'fails' : path;
  };
  return {
    'registries.conf': (registry, repository) => {
      const name = `${registry}/${repository}`;
      const entries = conf.registry ?? [];
      const entry =
        entries[
          longestPrefix(
            name,
            entries.map(({ prefix }) => prefix),
          )
        ];
      if (entry === undefined) return 'internet';
      return entry.blocked === true ? 'fails' : atSite(entry.location + name.slice(entry.prefix.length));
    },
    'mirror-sets.yaml': (registry, repository) => {
      const name = `${registry}/${repository}`;
      const entry =
        sets[
          longestPrefix(
            name,
            sets.map(({ source }) => source),
          )
        ];
      return entry === undefined ? 'internet' : atSite(entry.mirrors[0] + name.slice(entry.source.length));
    },
    'registries.yaml': (registry, repository) => {
      const mirror = mirrors[registry];
      if (mirror === undefined) return 'internet';
      const fitting = Object.entries(mirror.rewrite ?? {}).filter(([pattern]) =>
        new RegExp(pattern).test(repository),
      );
      assert.ok(
        fitting.length <= 1,
        `${repository} fits ${fitting.map(([pattern]) => pattern).join(' and ')}`,
      );
      const [rewrite] = fitting;
      if (rewrite === undefined) return repository;
      const path = repository.replace(new RegExp(rewrite[0]), rewrite[1]);
      return path.startsWith(unmapped) ? 'fails' : path;
    },
    'hosts.toml': (registry, repository) => {
      const text = files.get(`certs.d/${registry.replace(/:(\d+)$/, '_$1_')}/hosts.toml`);
      if (text === undefined) return 'internet';
      const { server } = parseToml(text) as { server: string };
      const [, base = '', path = ''] = /^https:\/\/([^/]+)(?:\/v2\/(.*))?$/.exec(server) ?? [];
      assert.equal(base, host);
      const found = path === '' ? repository : `${path}/${repository}`;
      return found.startsWith(unmapped) ? 'fails' : found;
    },
  };
}

function namesOf(site: Site, references: readonly string[]): SiteName[] {
  return mapNames(
    site,
    references.map((reference) => ({
      source: parseReference(reference),
      digest: digestOf(Buffer.from(reference)),
    })),
  );
}

function filesOf(site: Site, names: readonly SiteName[]): Map<string, string> {
  return new Map(emitNodeFiles(site, {}, names).files.map(({ path, text }) => [path, text]));
}

/** Asserts that every name that a node could request reaches its own image or fails, and that none leaves the site. */
function check(
  site: Site,
  names: readonly SiteName[],
  files: ReadonlyMap<string, string>,
  what: string,
): void {
  const own = new Map(names.map((name) => [formatRepository(name.source), name.site.repository]));
  const registries = [...new Set(names.map(({ source }) => source.registry))].filter(
    (registry) => registry !== site.registry,
  );
  const paths = new Set(
    names.flatMap(({ source, site: target }) => [
      source.repository,
      target.repository,
      `${source.repository}/sub`,
      ...target.repository.split('/').map((_, at, parts) => parts.slice(at).join('/')),
    ]),
  );
  for (const [consumer, resolve] of Object.entries(consumersOf(site.registry, files)))
    for (const registry of registries)
      for (const repository of paths) {
        const found = resolve(registry, repository);
        const name = `${registry}/${repository}`;
        if (found === 'fails') continue;
        const holds = names.some(({ site: target }) => target.repository === found);
        const isOld = own.has(name);
        if (!isOld && !holds && found !== 'internet') continue;
        let want = own.get(name);
        try {
          want ??= siteRepository(site, { registry, repository }).repository;
        } catch (error) {
          if (!isAirliftError(error, 'usage')) throw error;
        }
        assert.equal(found, want, `${what}: ${consumer} leads ${name} astray`);
      }
}

test('a renamed image never answers under the old path of another one', () => {
  const site: Site = {
    ...parseSite('site.example:5000'),
    rules: [parseRenameRule('docker.io/rancher/pause=k8s/pause')],
  };
  const names = namesOf(site, ['rancher/pause:3.1', 'ghcr.io/rancher/pause:3.1', 'redis:7']);
  const files = filesOf(site, names);
  check(site, names, files, 'renamed');
  const consumers = consumersOf(site.registry, files);
  assert.equal(consumers['hosts.toml']?.('docker.io', 'rancher/pause'), 'fails');
  assert.equal(consumers['hosts.toml']?.('ghcr.io', 'rancher/pause'), 'rancher/pause');
  for (const format of ['registries.yaml', 'registries.conf', 'mirror-sets.yaml'])
    assert.equal(consumers[format]?.('docker.io', 'rancher/pause'), 'k8s/pause', format);
});

test('with split rules, every registry has a file and nodes request nothing outside the site', () => {
  const site: Site = {
    ...parseSite('site.example:5000'),
    rules: ['ghcr.io/acme/*=a/*', 'ghcr.io/**=b/x'].map(parseRenameRule),
  };
  const names = namesOf(site, ['ghcr.io/acme/api:1', 'ghcr.io/other/web:1']);
  const consumers = consumersOf(site.registry, filesOf(site, names));
  for (const [format, resolve] of Object.entries(consumers))
    for (const repository of ['acme/api', 'other/web', 'never/seen', 'acme', 'acme/apis', 'a'])
      assert.notEqual(resolve('ghcr.io', repository), 'internet', `${format}: ${repository}`);
  assert.equal(consumers['registries.yaml']?.('ghcr.io', 'never/seen'), 'fails');
  assert.equal(consumers['registries.conf']?.('ghcr.io', 'never/seen'), 'fails');
  assert.equal(consumers['registries.conf']?.('ghcr.io', 'acme/api'), 'a/api');
});

test('a repository and one below it can have different targets', () => {
  const site: Site = { registry: 'site.example:5000', rules: [parseRenameRule('ghcr.io/a/b=x')] };
  const names = namesOf(site, ['ghcr.io/a/b:1', 'ghcr.io/a/b/c:1', 'ghcr.io/a/d:1', 'docker.io/x/sub:1']);
  const files = filesOf(site, names);
  check(site, names, files, 'nested');
  assert.equal(consumersOf(site.registry, files)['registries.conf']?.('ghcr.io', 'a/b/c'), 'a/b/c');
});

test('no consumer gets the wrong image, whatever the rules', () => {
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const pick = (list: readonly string[]): string => list[random(list.length)] ?? '';
  const registries = ['docker.io', 'ghcr.io', 'quay.io:5001', 'site.example:5000'];
  const parts = ['a', 'b', 'a-b', 'a.b', 'library'];
  const path = (): string => Array.from({ length: 2 + random(2) }, () => pick(parts)).join('/');
  const patterns = [
    (): string => `${pick(registries)}/${path()}=${path()}`,
    (): string => `${pick(registries)}/${pick(parts)}/*=${pick(parts)}/*`,
    (): string => `${pick(registries)}/**=${pick(parts)}/**`,
    (): string => `*/${pick(parts)}/**=${path()}/**`,
  ];
  let checked = 0;
  for (let round = 0; round < 400; round++) {
    const rules = Array.from({ length: random(4) }, () => patterns[random(patterns.length)]?.() ?? '');
    const site: Site = {
      registry: 'site.example:5000',
      prefix: random(3) === 0 ? pick(parts) : undefined,
      keepRegistry: random(3) === 0,
      rules: rules.map(parseRenameRule),
    };
    const references = Array.from(
      { length: 1 + random(7) },
      (_, at) => `${pick(registries)}/${path()}:${at}`,
    );
    const names = namesOf(site, references);
    check(site, names, filesOf(site, names), `${rules.join(' ')} of ${references.join(' ')}`);
    checked++;
  }
  assert.equal(checked, 400);
});

test('the files of a second bundle keep the names of the first', () => {
  const site = parseSite('site.example:5000');
  const first = emitNodeFiles(site, {}, namesOf(site, ['rancher/pause:3.1', 'quay.io/acme/api:1'])).files;
  const table = first.find(({ path }) => path === 'names.tsv')?.text ?? '';
  const mirrorSets = first.find(({ path }) => path === 'openshift/mirror-sets.yaml')?.text;
  const renamed: Site = { ...site, rules: [parseRenameRule('ghcr.io/acme/*=tools/*')] };
  const second = namesOf(renamed, ['ghcr.io/acme/web:1']);
  const { files } = emitNodeFiles(renamed, {}, second, { table, file: 'nodes/names.tsv', mirrorSets });
  const texts = new Map(files.map(({ path, text }) => [path, text]));
  for (const [format, resolve] of Object.entries(consumersOf(site.registry, texts))) {
    assert.equal(resolve('docker.io', 'rancher/pause'), 'rancher/pause', format);
    assert.equal(resolve('quay.io', 'acme/api'), 'acme/api', format);
    assert.equal(resolve('ghcr.io', 'acme/web'), format === 'hosts.toml' ? 'fails' : 'tools/web', format);
  }
  const nameOf = (text = ''): string | undefined => / {2}name: (\S+)/.exec(text)?.[1];
  assert.equal(nameOf(texts.get('openshift/mirror-sets.yaml')), nameOf(mirrorSets));
  // In another folder, the objects of the second set have another name and do not replace those of the first.
  const apart = filesOf(renamed, second).get('openshift/mirror-sets.yaml');
  assert.notEqual(nameOf(apart), nameOf(mirrorSets));
  const other = parseSite('other.example:5000');
  assert.throws(
    () => emitNodeFiles(other, {}, namesOf(other, ['redis:7']), { table, file: 'nodes/names.tsv' }),
    /nodes\/names\.tsv is for another registry; got other\.example:5000, want site\.example:5000/,
  );
  assert.throws(
    () =>
      emitNodeFiles(site, {}, namesOf(site, ['ghcr.io/rancher/pause:3.1']), {
        table,
        file: 'nodes/names.tsv',
      }),
    /1 new name would take the tag of a name in nodes\/names\.tsv/,
  );
});
