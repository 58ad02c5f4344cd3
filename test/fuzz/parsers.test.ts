/** Properties of the parsers of text: a parser returns a value that keeps its promises, or refuses with an AirliftError. */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  maxVolumes,
  formatVolumeList,
  parseVolumeList,
  volumeName,
} from '../../src/bundle/format/volumes/list.js';
import { parseImageList } from '../../src/lists/read.js';
import { isDigest, type Digest } from '../../src/oci/digest.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { parseJson } from '../../src/oci/json.js';
import { parseManifest } from '../../src/oci/manifest.js';
import { ociConfig, ociIndex, ociManifest } from '../../src/oci/media-types.js';
import {
  formatReference,
  isRegistry,
  isRepositoryPath,
  isTag,
  parseReference,
} from '../../src/oci/reference.js';
import { parseChallenges, parseLinks, parseRetryAfter } from '../../src/registry/http/headers.js';
import {
  formatCheckedDigest,
  formatSizedDigest,
  parseCheckedDigest,
  parseSizedDigest,
} from '../../src/request/line.js';
import { checkMinisig, formatMinisig, parseMinisig } from '../../src/signing/minisign.js';
import { parsePublicKey } from '../../src/signing/public-key.js';
import type { SecretKey } from '../../src/signing/secret-key.js';
import { digests, edited, editedBytes, everyInput, everyValue, parsed } from './hostile.js';

/** Records with the usual prototype, so that they equal literals. */
const plain = { noNullPrototype: true };

const registries = fc.constantFrom(
  'docker.io',
  'registry.example',
  'localhost',
  '127.0.0.1:5000',
  '[::1]:5000',
  'A.b:1',
);
const paths = fc.constantFrom('a', 'library/busybox', 'acme/x__y', 'a/b/c-d.e_f', '0/1');
const tags = fc.constantFrom('1', 'v1.2.3-rc_1', 'latest', `T${'a'.repeat(127)}`);

const references = fc
  .record({ registry: registries, path: paths, tag: fc.option(tags), digest: fc.option(digests) })
  .map(
    ({ registry, path, tag, digest }) =>
      `${registry}/${path}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`,
  );

test('a reference is valid in all parts and formats to itself, or is refused', async () => {
  const words = [
    'docker.io',
    'localhost',
    ':',
    '@',
    '/',
    '//',
    'https://',
    'sha256:',
    '65536',
    '[::1]',
    '__',
    'A',
  ];
  await everyInput(
    edited(references, words),
    async (text) => {
      const { value } = await parsed(() => parseReference(text), 'usage');
      if (value === undefined) return false;
      assert.ok(isRegistry(value.registry) && isRepositoryPath(value.repository));
      assert.ok(value.tag === undefined || isTag(value.tag));
      assert.ok(value.digest === undefined || isDigest(value.digest));
      assert.ok(value.tag !== undefined || value.digest !== undefined);
      const full = formatReference(value);
      assert.deepEqual(parseReference(full), value);
      assert.equal(formatReference(parseReference(full)), full);
      return true;
    },
    { seed: 1, runs: 1500 },
  );
});

const tokens = fc.constantFrom('realm', 'Service', 'scope', 'error', 'x-y');
const quotedTexts = fc.string({ maxLength: 12, unit: fc.constantFrom(...'ab:/,; ="\\é') });
const challenges = fc.array(
  fc.record({
    scheme: fc.constantFrom('Basic', 'bearer', 'Negotiate', 'x'),
    parameters: fc.uniqueArray(fc.tuple(tokens, quotedTexts), { maxLength: 3, selector: ([name]) => name }),
  }),
  { minLength: 1, maxLength: 3 },
);

const formatChallenges = (list: typeof challenges extends fc.Arbitrary<infer T> ? T : never): string =>
  list
    .map(
      ({ scheme, parameters }) =>
        `${scheme} ${parameters.map(([name, value]) => `${name}="${value.replace(/["\\]/g, '\\$&')}"`).join(', ')}`,
    )
    .join(', ');

test('challenges of WWW-Authenticate are read as they are written, and any text gives challenges', async () => {
  await everyValue(
    challenges,
    (list) => {
      const want = list.map(({ scheme, parameters }) => ({
        scheme: scheme.toLowerCase(),
        parameters: Object.fromEntries(parameters.map(([name, value]) => [name.toLowerCase(), value])),
      }));
      const got = parseChallenges(formatChallenges(list)).map(({ scheme, parameters }) => ({
        scheme,
        parameters: { ...parameters },
      }));
      assert.deepEqual(got, want);
    },
    { seed: 2 },
  );
  const words = ['Bearer', 'realm="', '"', '\\', '=', ',', '==', 'YWJj=', '__proto__="x"', ' '];
  await everyValue(
    edited(challenges.map(formatChallenges), words),
    (text) => {
      for (const { scheme, parameters } of parseChallenges(text)) {
        assert.match(scheme, /^[!#$%&'*+.^_`|~0-9a-z-]+$/);
        assert.equal(Object.getPrototypeOf(parameters), null);
        for (const [name, value] of Object.entries(parameters)) {
          assert.equal(name, name.toLowerCase());
          assert.equal(typeof value, 'string');
        }
      }
    },
    { seed: 3, runs: 1000 },
  );
});

const links = fc
  .array(
    fc.record(
      {
        target: fc.constantFrom('/v2/x/tags/list?last=b&n=2', 'https://r.example/a', '?n=1', '/a,b;c'),
        relations: fc.array(fc.constantFrom('next', 'prev', 'self'), { maxLength: 2 }),
      },
      plain,
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((list) => ({
    list,
    text: list
      .map(
        ({ target, relations }) =>
          `<${target}>${relations.length > 0 ? `; rel="${relations.join(' ')}"` : ''}`,
      )
      .join(', '),
  }));

test('links are read as they are written, or the header is malformed', async () => {
  await everyValue(links, ({ list, text }) => assert.deepEqual(parseLinks(text), list), { seed: 4 });
  await everyInput(
    edited(
      links.map(({ text }) => text),
      ['<', '>', ';', 'rel=', '"next"', "'next'", ',', '"', '\\', ' '],
    ),
    (text) => {
      const found = parseLinks(text);
      for (const { target, relations } of found ?? []) {
        assert.equal(target, target.trim());
        for (const relation of relations) assert.match(relation, /^\S+$/);
      }
      return found !== undefined;
    },
    { seed: 5, runs: 1000 },
  );
});

test('Retry-After is a time to wait that is not negative, or is ignored', async () => {
  const now = Date.UTC(2024, 4, 6);
  const valid = fc.constantFrom('120', '0', 'Mon, 06 May 2024 00:01:00 GMT', 'Fri, 31 Dec 1999 23:59:59 GMT');
  await everyInput(
    edited(valid, ['-', 'GMT', '+275760', '9'.repeat(9), 'Jan']),
    (text) => {
      const wait = parseRetryAfter(text, now);
      assert.ok(wait === undefined || (Number.isFinite(wait) && wait >= 0), String(wait));
      return wait !== undefined;
    },
    { seed: 6 },
  );
});

test('JSON is read as JSON.parse does, or is refused', async () => {
  const limits = { bytes: 4096, values: 100, depth: 8 };
  await everyInput(
    edited(fc.json({ maxDepth: 4 }), ['[', '{', '"', ',', ':', '\\', '[[[[[[[[[']),
    async (text) => {
      const { value } = await parsed(() => [parseJson(text, 'x', limits)], 'input');
      if (value !== undefined) assert.deepEqual(value[0], JSON.parse(text));
      return value !== undefined;
    },
    { seed: 7, runs: 1000 },
  );
});

const sizes = fc.oneof(fc.nat(5000), fc.constant(Number.MAX_SAFE_INTEGER));
const platforms = fc.record({
  os: fc.constantFrom('linux', 'windows', 'darwin'),
  architecture: fc.constantFrom('amd64', 'arm', 'aarch64', 'constructor'),
  variant: fc.constantFrom('v7', 'v8', ''),
});
const descriptor = (mediaType: string): fc.Arbitrary<object> =>
  fc.record({ mediaType: fc.constant(mediaType), digest: digests, size: sizes });
const indexes = fc.record({
  schemaVersion: fc.constant(2),
  mediaType: fc.constant(ociIndex),
  manifests: fc.array(
    fc.record({ mediaType: fc.constant(ociManifest), digest: digests, size: sizes, platform: platforms }),
    { maxLength: 3 },
  ),
  annotations: fc.dictionary(fc.constantFrom('a', '__proto__', 'org.x'), fc.string({ maxLength: 5 })),
});
const manifests = fc.record({
  schemaVersion: fc.constant(2),
  mediaType: fc.constant(ociManifest),
  config: descriptor(ociConfig),
  layers: fc.array(descriptor('application/vnd.oci.image.layer.v1.tar+gzip'), { maxLength: 3 }),
  subject: fc.option(descriptor(ociManifest)),
});

test('every descriptor of a manifest or index is valid, or the document is refused', async () => {
  const words = [
    ...[
      '"manifests":',
      '"layers":',
      '"config":',
      '"subject":',
      '"mediaType":',
      '"digest":',
      '"size":-1',
      '"size":1e99',
    ],
    ...['"annotations":{"a":1}', '"platform":{}', '"platform":{"os":7}', 'sha256:', ',', ociIndex],
  ];
  const isValid = ({ digest, size, mediaType, platform }: Descriptor): boolean =>
    isDigest(digest) &&
    Number.isSafeInteger(size) &&
    size >= 0 &&
    mediaType !== '' &&
    (platform === undefined ||
      (typeof platform.os === 'string' && typeof platform.architecture === 'string'));
  await everyInput(
    edited(
      fc.oneof(indexes, manifests).map((value) => JSON.stringify(value)),
      words,
    ),
    async (text) => {
      const { value } = await parsed(
        () => parseManifest(Buffer.from(text), ociManifest, 'x'),
        'input',
        'unsupported',
      );
      if (value === undefined) return false;
      const all =
        value.kind === 'index'
          ? value.manifests
          : [...(value.config === undefined ? [] : [value.config]), ...value.layers];
      assert.ok(all.every(isValid), text);
      assert.ok(value.subject === undefined || isValid(value.subject));
      // The digests are those of the document, in its order.
      const json = JSON.parse(text) as Record<string, { digest: string }[]>;
      const list = json[value.kind === 'index' ? 'manifests' : 'layers'] ?? [];
      const own = value.kind === 'index' ? value.manifests : value.layers;
      if (Array.isArray(list) && !('blobs' in json))
        assert.deepEqual(
          own.map(({ digest }) => digest),
          list.map(({ digest }) => digest),
        );
      return true;
    },
    { seed: 8, runs: 1500 },
  );
});

const digest256 = fc
  .nat(0xffffff)
  .map((number) => `sha256:${number.toString(16).padStart(64, 'ab')}` as Digest);
const volumeLists = fc
  .record(
    {
      name: fc.constantFrom('site.tar', 'a', 'größe.tar', '-x', 'with space'),
      digest: digest256,
      parts: fc.array(fc.tuple(fc.integer({ min: 1, max: 1e12 }), digest256), { minLength: 1, maxLength: 4 }),
    },
    plain,
  )
  .map(({ name, digest, parts }) => ({
    name,
    digest,
    size: parts.reduce((sum, [size]) => sum + size, 0),
    volumes: parts.map(([size, own], at) => ({ name: volumeName(name, at + 1), size, digest: own })),
  }));

test('a list of volumes names files of one bundle in order, whose sizes add up, or is refused', async () => {
  await everyValue(
    volumeLists,
    (list) => assert.deepEqual(parseVolumeList(formatVolumeList(list), 'x.volumes'), list),
    { seed: 9 },
  );
  await everyInput(
    edited(volumeLists.map(formatVolumeList), [
      '"name":',
      '"size":',
      '/',
      '..',
      '.001',
      '"volumes":',
      '9',
      '-',
      'sha512:',
    ]),
    async (text) => {
      const { value } = await parsed(() => parseVolumeList(text, 'x.volumes'), 'damaged', 'unsupported');
      if (value === undefined) return false;
      assert.doesNotMatch(value.name, /[/\\\u0000]|^\.{0,2}$/);
      assert.ok(value.volumes.length > 0 && value.volumes.length <= maxVolumes);
      assert.deepEqual(
        value.volumes.map(({ name }) => name),
        value.volumes.map((_, at) => volumeName(value.name, at + 1)),
      );
      assert.equal(
        value.volumes.reduce((sum, { size }) => sum + size, 0),
        value.size,
      );
      assert.deepEqual(parseVolumeList(formatVolumeList(value), 'x.volumes'), value);
      return true;
    },
    { seed: 10, runs: 1000 },
  );
});

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const idBytes = Buffer.from('0102030405060708', 'hex');
const secret: SecretKey = { format: 'minisign', id: '0807060504030201', idBytes, key: privateKey };
const raw = Buffer.concat([
  Buffer.from('Ed'),
  idBytes,
  Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url'),
]);
const keyText = `untrusted comment: minisign public key 0807060504030201\n${raw.toString('base64')}\n`;
const hashOf = (text: string): Buffer => createHash('blake2b512').update(text).digest();

test('a signature of minisign that was edited is refused, unless what it covers is unchanged', async () => {
  const key = parsePublicKey(Buffer.from(keyText), 'k.pub');
  const hash = hashOf('content');
  const comment = 'timestamp:1714979289\tfile:SHA256SUMS';
  const valid = formatMinisig(secret, hash, comment);
  await everyInput(
    editedBytes(fc.constant(valid), ['untrusted comment: ', 'trusted comment: ', '\n', '=', 'A', 'RUQ']),
    async (bytes) => {
      const { value } = await parsed(() => parseMinisig(bytes, 'x.minisig'), 'input', 'unsupported');
      if (value === undefined) return false;
      const whole = parseMinisig(valid, 'x.minisig');
      const isSame =
        value.comment === comment &&
        value.signature.equals(whole.signature) &&
        value.global.equals(whole.global);
      assert.equal(checkMinisig(value, key, hash) === 'valid', isSame);
      return true;
    },
    { seed: 11 },
  );
});

test('a public key that was edited is a key or refused', async () => {
  const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    type: 'spki',
    format: 'pem',
  });
  await everyInput(
    editedBytes(fc.constantFrom(Buffer.from(keyText), Buffer.from(pem as string)), [
      'untrusted comment: ',
      '\n',
      '-----BEGIN',
      '-----BEGIN PRIVATE KEY-----',
      '=',
      'A',
    ]),
    async (bytes) => {
      const { value } = await parsed(() => parsePublicKey(bytes, 'k.pub'), 'input', 'unsupported', 'usage');
      if (value !== undefined) assert.ok(value.key.type === 'public' && value.id !== '');
      return value !== undefined;
    },
    { seed: 12 },
  );
});

test('a digest with check letters is read back however it is typed, and one other character is found', async () => {
  const blobs = fc.record(
    {
      digest: digests.map((text) => text as Digest),
      size: fc.option(fc.nat(), { nil: undefined }),
    },
    plain,
  );
  await everyValue(
    blobs,
    (blob) => {
      const text = formatSizedDigest(blob);
      assert.deepEqual(parseSizedDigest(text), blob);
      assert.deepEqual(
        parseSizedDigest(
          text
            .toUpperCase()
            .replaceAll(/(?<=:.*)0/g, 'O')
            .replaceAll(/(?<=:.*)1/g, 'I'),
        ),
        blob,
      );
      assert.deepEqual(parseSizedDigest(text.replaceAll(/./gs, '$& ')), blob);
      assert.deepEqual(parseCheckedDigest(formatCheckedDigest(blob.digest)), { digest: blob.digest });
    },
    { seed: 13 },
  );
  await everyInput(
    edited(blobs.map(formatSizedDigest), ['o', 'l', ' ', '-', 'sha512', '0']),
    (text) => {
      const value = parseSizedDigest(text);
      if (typeof value === 'string') return false;
      assert.ok(isDigest(value.digest));
      assert.deepEqual(parseSizedDigest(formatSizedDigest(value)), value);
      return true;
    },
    { seed: 14 },
  );
});

const kubernetes = `apiVersion: v1
kind: Pod
metadata: &m {name: x, labels: {a: b}}
spec:
  initContainers: [{name: i, image: "busybox:1"}]
  containers:
    - name: a
      image: registry.example/acme/a:1
      args: ["--x", 'y']
    - <<: *m
      image: |-
        redis
---
apiVersion: apps/v1
kind: Deployment
spec: {template: {spec: {containers: [{image: nginx@sha256:${'ab'.repeat(32)}}]}}}
`;
const lists = [
  kubernetes,
  'services:\n  web:\n    image: nginx:1\n    platform: linux/arm64\n  db: {image: postgres}\n',
  '# images\nbusybox:1\nregistry.example/acme/a:2 linux/amd64\n\nredis\n',
  '- busybox\n- redis:7\n',
  'registry.example:\n  images:\n    acme/a: ["1", "2"]\n  images-by-semver:\n    acme/b: ">=1.2"\n',
  'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nimages:\n  - {name: nginx, newTag: "1.2"}\n',
  'apiVersion: content.hauler.cattle.io/v1\nkind: Images\nmetadata: {name: x}\nspec:\n  images:\n    - {name: "busybox:1", platform: linux/amd64}\n',
  'kind: ZarfPackageConfig\ncomponents:\n  - {name: a, images: [busybox]}\n',
  'kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror: {additionalImages: [{name: "busybox:1"}]}\n',
];

test('an image list names valid references with their lines, or is refused', async () => {
  const words = [
    ...[
      'image:',
      '- ',
      '---\n',
      ': ',
      '&a',
      '*a',
      '<<: *a',
      '[',
      '{',
      '|',
      '>',
      '!!binary',
      '%YAML 9\n',
      '? ',
      '"',
      '\t',
    ],
    ...['{{', 'kind: Pod', 'services:', '\n  ', '# ', '...\n', '&', '*m', '!!', '!<', '\n---'],
  ];
  await everyInput(
    edited(fc.constantFrom(...lists), words),
    async (text) => {
      const { value } = await parsed(() => parseImageList(text, 'list.yaml'), 'usage', 'unsupported');
      if (value === undefined) return false;
      const lines = text.split('\n').length;
      for (const { reference, line } of value.references) {
        assert.deepEqual(parseReference(formatReference(reference)), reference);
        assert.ok(line >= 1 && line <= lines, `line ${line} of ${lines}`);
      }
      for (const { line } of value.notes)
        assert.ok(line >= 1 && line <= lines, `note in line ${line} of ${lines}`);
      return true;
    },
    { seed: 15, runs: 1000 },
  );
});
