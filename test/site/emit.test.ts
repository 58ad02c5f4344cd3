import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import { parse, parseAllDocuments } from 'yaml';
import { digestOf } from '../../src/oci/digest.js';
import { formatReference, formatRepository, parseReference } from '../../src/oci/reference.js';
import type { NodeAccess } from '../../src/site/access.js';
import { emitNodeFiles } from '../../src/site/emit.js';
import { mapNames, parseSite, type Site, type SiteName } from '../../src/site/names.js';
import { parseRenameRule } from '../../src/site/rename.js';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';

const references = [
  'redis:7',
  'nginx:1.27',
  'rancher/pause:3.1',
  'ghcr.io/acme/api.server:2',
  'ghcr.io/acme/api_server:2',
  `ghcr.io/acme/web@${digestOf(Buffer.from('w'))}`,
  'localhost:5001/a/b:1',
];

const sites: Record<string, Site> = {
  plain: parseSite('site.example:5000'),
  prefixed: parseSite('site.example:5000/team/x'),
  kept: { ...parseSite('site.example:5000'), keepRegistry: true },
  renamed: {
    ...parseSite('site.example:5000/p'),
    rules: ['library/*=mirror/*', 'ghcr.io/acme/api.server=acme/server'].map(parseRenameRule),
  },
};

function namesAt(site: Site): SiteName[] {
  return mapNames(
    site,
    references.map((reference) => ({
      source: parseReference(reference),
      digest: digestOf(Buffer.from(reference)),
    })),
  );
}

function filesOf(site: Site, access: NodeAccess = {}): { files: Map<string, string>; notes: string[] } {
  const { files, notes } = emitNodeFiles(site, access, namesAt(site));
  return { files: new Map(files.map(({ path, text }) => [path, text])), notes };
}

function text(files: Map<string, string>, path: string): string {
  const found = files.get(path);
  assert.ok(found !== undefined, `${path} among ${[...files.keys()].join(', ')}`);
  return found;
}

/** Parses a TOML file to plain objects. */
function toml(files: Map<string, string>, path: string): unknown {
  return JSON.parse(JSON.stringify(parseToml(text(files, path))));
}

interface RegistriesYaml {
  mirrors: Record<string, { endpoint: string[]; rewrite?: Record<string, string> }>;
  configs?: Record<string, { tls?: Record<string, unknown> }>;
}

for (const [name, site] of Object.entries(sites)) {
  test(`${name}: k3s finds every image by the rewrites of registries.yaml, in any order of rules`, () => {
    const { mirrors } = parse(text(filesOf(site).files, 'registries.yaml')) as RegistriesYaml;
    for (const { source, site: target } of namesAt(site)) {
      const mirror = mirrors[source.registry];
      assert.deepEqual(mirror?.endpoint, ['https://site.example:5000']);
      const rewritten = new Set<string>();
      for (const [pattern, replacement] of Object.entries(mirror.rewrite ?? {})) {
        // k3s writes both unchanged into a quoted TOML string.
        const toml = parseToml(`[rewrite]\n"${pattern}" = "${replacement}"`) as {
          rewrite: Record<string, string>;
        };
        assert.deepEqual(Object.entries(toml.rewrite), [[pattern, replacement]]);
        if (new RegExp(pattern).test(source.repository))
          rewritten.add(source.repository.replace(new RegExp(pattern, 'g'), replacement));
      }
      const want = target.repository === source.repository ? [] : [target.repository];
      assert.deepEqual(
        [...rewritten].filter((path) => path !== source.repository),
        want,
        formatReference(source),
      );
    }
  });

  test(`${name}: containers' registries.conf directs every name to the site by its longest prefix`, () => {
    for (const fallback of [false, true]) {
      const conf = parseToml(text(filesOf(site, { fallback }).files, 'registries.conf')) as {
        registry: { prefix: string; location: string; mirror?: { location: string }[] }[];
      };
      for (const { source, site: target } of namesAt(site)) {
        const full = formatRepository(source);
        const best = conf.registry
          .filter(({ prefix }) => full === prefix || full.startsWith(`${prefix}/`))
          .sort((left, right) => right.prefix.length - left.prefix.length)[0];
        assert.ok(best !== undefined, full);
        const location = fallback ? best.mirror?.[0]?.location : best.location;
        assert.equal(`${location ?? ''}${full.slice(best.prefix.length)}`, formatRepository(target));
        if (fallback) assert.equal(best.location, best.prefix);
      }
    }
  });

  test(`${name}: OpenShift's mirror sets match their schema and direct every name to the site`, () => {
    const host = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
    // The pattern for sources and mirrors in the schema of the custom resource.
    const location = new RegExp(
      `^(${host}(?:(?:\\.${host})+)?(?::[0-9]+)?)(?:(?:/[a-z0-9]+(?:(?:(?:[._]|__|[-]*)[a-z0-9]+)+)?)+)?$`,
    );
    const documents = parseAllDocuments(text(filesOf(site).files, 'openshift/mirror-sets.yaml'));
    const sets = documents.map((document) => document.toJS() as Record<string, unknown>);
    assert.deepEqual(
      sets.map((set) => [set['apiVersion'], set['kind'], Object.keys(set['spec'] as object)]),
      [
        ['config.openshift.io/v1', 'ImageDigestMirrorSet', ['imageDigestMirrors']],
        ['config.openshift.io/v1', 'ImageTagMirrorSet', ['imageTagMirrors']],
      ],
    );
    for (const set of sets) {
      assert.match((set['metadata'] as { name: string }).name, /^airlift-[0-9a-f]{10}$/);
      const entries = Object.values(set['spec'] as object)[0] as {
        source: string;
        mirrors: string[];
        mirrorSourcePolicy: string;
      }[];
      for (const entry of entries) {
        assert.match(entry.source, location);
        for (const mirror of entry.mirrors) assert.match(mirror, location);
        assert.equal(entry.mirrorSourcePolicy, 'NeverContactSource');
      }
      for (const { source, site: target } of namesAt(site)) {
        const full = formatRepository(source);
        const best = entries
          .filter((entry) => full === entry.source || full.startsWith(`${entry.source}/`))
          .sort((left, right) => right.source.length - left.source.length)[0];
        assert.ok(best !== undefined, full);
        assert.equal(`${best.mirrors[0] ?? ''}${full.slice(best.source.length)}`, formatRepository(target));
      }
    }
  });

  test(`${name}: kustomize renames every spelling of every image`, () => {
    const component = parse(text(filesOf(site).files, 'kustomize/kustomization.yaml')) as {
      kind: string;
      images: { name: string; newName: string }[];
    };
    assert.equal(component.kind, 'Component');
    const spelled: [string, string][] = [
      ['redis', 'docker.io/library/redis'],
      ['library/redis', 'docker.io/library/redis'],
      ['docker.io/redis', 'docker.io/library/redis'],
      ['docker.io/library/redis', 'docker.io/library/redis'],
      ['rancher/pause', 'docker.io/rancher/pause'],
      ['docker.io/rancher/pause', 'docker.io/rancher/pause'],
      ['ghcr.io/acme/api.server', 'ghcr.io/acme/api.server'],
    ];
    for (const [spelling, full] of spelled) {
      let image = spelling;
      for (const { name, newName } of component.images) {
        // kustomize reads the name as a regular expression that a tag or digest may follow.
        if (new RegExp(`^${name}(:[a-zA-Z0-9_.{}-]*)?(@sha256:[a-zA-Z0-9_.{}-]*)?$`).test(image))
          image = newName;
      }
      const want = namesAt(site).find(({ source }) => formatRepository(source) === full);
      assert.equal(image, want && formatRepository(want.site), spelling);
    }
  });
}

test('the table contains source, site and digest', () => {
  const lines = text(filesOf(sites['plain'] as Site).files, 'names.tsv')
    .trimEnd()
    .split('\n');
  assert.equal(lines[0], 'source\tsite\tdigest');
  assert.equal(
    lines[1],
    `docker.io/library/redis:7\tsite.example:5000/library/redis:7\t${digestOf(Buffer.from('redis:7'))}`,
  );
  assert.equal(lines.length, references.length + 1);
});

test('hosts.toml has a folder per registry and its path, and notes report names that it cannot rename', () => {
  const plain = filesOf(sites['plain'] as Site);
  assert.deepEqual(
    [...plain.files.keys()].filter((path) => path.startsWith('certs.d/')),
    [
      'certs.d/site.example_5000_/hosts.toml',
      'certs.d/docker.io/hosts.toml',
      'certs.d/ghcr.io/hosts.toml',
      'certs.d/localhost_5001_/hosts.toml',
    ],
  );
  assert.deepEqual(plain.notes, []);
  assert.deepEqual(toml(plain.files, 'certs.d/docker.io/hosts.toml'), {
    server: 'https://site.example:5000',
    capabilities: ['pull', 'resolve'],
    host: { 'https://site.example:5000': { capabilities: ['pull', 'resolve'] } },
  });
  const access = { fallback: true, caFile: '/etc/ssl/site "ca".crt', skipVerify: true };
  const kept = filesOf(sites['kept'] as Site, access);
  assert.deepEqual(toml(kept.files, 'certs.d/docker.io/hosts.toml'), {
    server: 'https://registry-1.docker.io',
    host: {
      'https://site.example:5000/v2/docker.io': {
        capabilities: ['pull', 'resolve'],
        override_path: true,
        ca: '/etc/ssl/site "ca".crt',
        skip_verify: true,
      },
    },
  });
  assert.deepEqual(filesOf(sites['renamed'] as Site).notes, [
    "containerd's hosts.toml cannot rename docker.io/library/nginx to site.example:5000/p/mirror/nginx (and 1 more): on containerd " +
      'nodes, every name of docker.io fails, so that none reaches the wrong image; use the names in names.tsv, or leave out `rules`',
    "containerd's hosts.toml cannot rename ghcr.io/acme/api.server to site.example:5000/p/acme/server: on containerd " +
      'nodes, every name of ghcr.io fails, so that none reaches the wrong image; use the names in names.tsv, or leave out `rules`',
  ]);
});

test('registries.yaml contains how nodes reach the site', () => {
  const { files } = filesOf(sites['plain'] as Site, { caFile: '/etc/ssl/ca.crt', skipVerify: true });
  const yaml = parse(text(files, 'registries.yaml')) as RegistriesYaml;
  assert.deepEqual(yaml.configs, {
    'site.example:5000': { tls: { ca_file: '/etc/ssl/ca.crt', insecure_skip_verify: true } },
  });
  const plain = parse(
    text(filesOf(sites['plain'] as Site, { plainHttp: true }).files, 'registries.yaml'),
  ) as RegistriesYaml;
  assert.deepEqual(plain.mirrors['docker.io']?.endpoint, ['http://site.example:5000']);
  assert.deepEqual(plain.mirrors['site.example:5000'], { endpoint: ['http://site.example:5000'] });
});

test('without images the files are valid', () => {
  const { files } = emitNodeFiles(parseSite('site.example:5000'), {}, []);
  for (const { path, text } of files) {
    if (path.endsWith('.yaml'))
      for (const document of parseAllDocuments(text)) assert.deepEqual(document.errors, []);
    if (/\.(toml|conf)$/.test(path)) parseToml(text);
  }
});

test(
  'kustomize replaces a digest that is not published by the one that is',
  { skip: needs('kubectl') },
  async (t) => {
    const original = digestOf(Buffer.from('publisher'));
    const published = digestOf(Buffer.from('filtered'));
    const site: Site = {
      ...parseSite('site.example:5000'),
      rules: [parseRenameRule('rancher/pause=k8s/pause')],
    };
    const names = mapNames(site, [
      { source: parseReference('rancher/pause:3.1'), digest: published, original },
      { source: parseReference('rancher/pauseX1:3.1'.toLowerCase()), digest: published },
      { source: parseReference('rancher/pause.1:3.1'), digest: published },
    ]);
    const { files } = emitNodeFiles(site, {}, names);
    const folder = temp(t);
    for (const { path, text } of files.filter((file) => file.path.startsWith('kustomize/'))) {
      mkdirSync(join(folder, 'kustomize'), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const images: [string, string][] = [
      [`rancher/pause:3.1@${original}`, `site.example:5000/k8s/pause@${published}`],
      [`index.docker.io/rancher/pause@${original}`, `site.example:5000/k8s/pause@${published}`],
      [`docker.io/rancher/pause:3.1@${published}`, `site.example:5000/k8s/pause:3.1@${published}`],
      ['registry-1.docker.io/rancher/pause:3.1', 'site.example:5000/k8s/pause:3.1'],
      ['rancher/pausex1:3.1', 'site.example:5000/rancher/pausex1:3.1'],
      ['rancher/pause.1:3.1', 'site.example:5000/rancher/pause.1:3.1'],
    ];
    const spec = {
      containers: images.map(([image], at) => ({ name: `c${at}`, image })),
      ephemeralContainers: [{ name: 'e', image: 'rancher/pause:3.1' }],
      volumes: [{ name: 'v', image: { reference: 'rancher/pause:3.1' } }],
    };
    const resources = [
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec },
      { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec: { template: { spec } } },
      {
        apiVersion: 'batch/v1',
        kind: 'CronJob',
        metadata: { name: 'j' },
        spec: { jobTemplate: { spec: { template: { spec } } } },
      },
    ];
    writeFileSync(
      join(folder, 'all.yaml'),
      resources.map((resource) => JSON.stringify(resource)).join('\n---\n'),
    );
    writeFileSync(join(folder, 'kustomization.yaml'), 'resources: [all.yaml]\ncomponents: [kustomize]\n');
    const { stdout } = await run('kubectl', ['kustomize', folder]);
    const found = [...stdout.matchAll(/(?:image|reference): (\S+)/g)].map(([, image]) => image).sort();
    const each = [
      ...images.map(([, image]) => image),
      ...Array<string>(2).fill('site.example:5000/k8s/pause:3.1'),
    ];
    assert.deepEqual(found, resources.flatMap(() => each).sort());
  },
);

test('OpenShift gets the setting for plain HTTP', () => {
  const { files } = filesOf(sites['plain'] as Site, { plainHttp: true });
  const config = parse(text(files, 'openshift/image-config.yaml')) as Record<string, unknown>;
  assert.equal(config['kind'], 'Image');
  assert.deepEqual(config['spec'], { registrySources: { insecureRegistries: ['site.example:5000'] } });
  assert.ok(!filesOf(sites['plain'] as Site).files.has('openshift/image-config.yaml'));
});
