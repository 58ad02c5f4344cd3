import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Digest } from '../../src/oci/digest.js';
import { parseReference } from '../../src/oci/reference.js';
import { matches, readPolicies } from '../../src/policy/image-policy.js';
import { verify } from '../../src/verify.js';
import { writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import {
  attachedSignature,
  newCosignKeys,
  payloadOf,
  taggedSignature,
  type CosignKeys,
} from '../support/cosign.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { publisher, TestSigstore } from '../support/sigstore.js';
import { temp, type Cleanup } from '../support/temp.js';

const app = multiPlatform({ name: 'app' });
const tool = singlePlatform('linux/amd64', { name: 'tool' });
const redis = singlePlatform('linux/amd64', { name: 'redis' });
const named = (reference: string, image: TestImage): Cargo => ({ reference, image });
const underTag = (image: TestImage, companionOf: Digest): Cargo => ({
  reference: `ghcr.io/acme/app:${companionOf.replace(':', '-')}.sig`,
  image,
  companionOf,
});
const referrer = (image: TestImage): Cargo => ({ reference: undefined, image });

const lines = (...texts: string[]): string => texts.join('\n');
const keyAuthority = (path: string): string =>
  lines(
    '  - key:',
    '      data: |',
    ...readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => `        ${line}`),
  );
const keylessAuthority = lines(
  '  - keyless:',
  '      identities:',
  '      - issuer: https://elsewhere.example',
  `        subject: ${publisher.identity}`,
  `      - issuer: ${publisher.issuer}`,
  '        subjectRegExp: ^https://github\\.example/acme/',
);
const passing = lines('  - static:', '      action: pass');
const failing = lines('  - static:', '      action: fail', '      message: end of life');

function policyOf(name: string, glob: string, authorities: string, mode = 'enforce'): string {
  return lines(
    'apiVersion: policy.sigstore.dev/v1beta1',
    'kind: ClusterImagePolicy',
    'metadata:',
    `  name: ${name}`,
    'spec:',
    `  mode: ${mode}`,
    '  images:',
    `  - glob: "${glob}"`,
    '  authorities:',
    authorities,
    '',
  );
}

function writePolicy(t: Cleanup, ...documents: string[]): string {
  const path = join(temp(t), 'policy.yaml');
  writeFileSync(path, documents.join('---\n'));
  return path;
}

async function bundleWith(t: Cleanup, ...cargo: Cargo[]): Promise<string> {
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, cargo);
  return path;
}

/** An image with a signature by a key, and one by the publisher's certificate. */
const signedTwice = (keys: CosignKeys, sigstore: TestSigstore): Cargo[] => [
  named('ghcr.io/acme/app:1', app),
  underTag(taggedSignature(keys, payloadOf(app.root.digest)), app.root.digest),
  referrer(sigstore.attached(app, app.root.digest)),
];

test('verify --policy accepts images of which every policy that matches is met, by any of its authorities', async (t) => {
  const [keys, other] = [newCosignKeys(t), newCosignKeys(t)];
  const sigstore = new TestSigstore();
  const bundle = await bundleWith(
    t,
    ...signedTwice(keys, sigstore),
    named('ghcr.io/acme/tool:1', tool),
    referrer(attachedSignature(other, tool, tool.root.digest)),
    named('redis:7', redis),
  );
  const either = lines(failing, keyAuthority(other.publicPath), keyAuthority(keys.publicPath));
  const policy = writePolicy(
    t,
    '# The site.\n',
    policyOf('acme', 'ghcr.io/acme/**', either),
    policyOf('released', '**/app:*', keylessAuthority),
    policyOf('hub', 'redis:*', passing),
  );
  const flags = ['verify', bundle, '--policy', policy, '--trusted-root', sigstore.writeTrustedRoot(t)];
  const { stdout } = await airlift(flags);
  assert.match(
    stdout,
    /acme\/app:1: signed by key sha256:[0-9a-f]{64}, and signed by https:\/\/github\.example\/\S+, for whom/,
  );
  assert.match(stdout, /acme\/tool:1: signed by key sha256:[0-9a-f]{64} \(a referrer\)$/m);
  assert.match(stdout, /library\/redis:7: needs no signature$/m);
  const { imageSignatures } = JSON.parse((await airlift([...flags, '--json'])).stdout) as {
    imageSignatures: { reference: string; signers?: object[]; allowedUnsigned?: boolean }[];
  };
  assert.deepEqual(
    imageSignatures.map(({ reference, signers = [], allowedUnsigned = false }) => [
      reference,
      signers.length,
      allowedUnsigned,
    ]),
    [
      ['docker.io/library/redis:7', 0, true],
      ['ghcr.io/acme/app:1', 2, false],
      ['ghcr.io/acme/tool:1', 1, false],
    ],
  );
  // A valid signature is not enough where another policy wants another one.
  const strict = writePolicy(
    t,
    policyOf('acme', 'ghcr.io/acme/**', either),
    policyOf('released', 'ghcr.io/**', keylessAuthority),
    policyOf('all', '**', passing),
  );
  const refused = await airlift(['verify', bundle, '--policy', strict, ...flags.slice(4)], { codes: [4] });
  assert.match(
    refused.stdout,
    /^refused: ghcr\.io\/acme\/tool:1: policy released: none of its 1 signatures of cosign is accepted: it has no certificate/m,
  );
  assert.equal(refused.stdout.match(/^refused: /gm)?.length, 1);
});

test('verify --policy rejects images that no policy matches, that lack a signature, and that a policy rejects', async (t) => {
  const [keys, stranger] = [newCosignKeys(t), newCosignKeys(t)];
  const bundle = await bundleWith(
    t,
    named('ghcr.io/acme/app:1', app),
    underTag(taggedSignature(stranger, payloadOf(app.root.digest)), app.root.digest),
    named('ghcr.io/acme/tool:1', tool),
    named('redis:7', redis),
  );
  const policy = writePolicy(
    t,
    policyOf('acme', 'ghcr.io/acme/**', keyAuthority(keys.publicPath)),
    policyOf('old-tools', '**/tool:1', failing),
  );
  const { stdout } = await airlift(['verify', bundle, '--policy', policy], { codes: [4] });
  const refused = stdout.split('\n').filter((line) => line.startsWith('refused: '));
  assert.deepEqual(refused.sort(), [
    `refused: docker.io/library/redis:7: no policy in ${policy} matches it`,
    'refused: ghcr.io/acme/app:1: policy acme: none of its 1 signatures of cosign is accepted: not by the given key over this digest',
    'refused: ghcr.io/acme/tool:1: policy acme: no signature of cosign travels with it',
    'refused: ghcr.io/acme/tool:1: policy old-tools: rejected: end of life',
  ]);
  const { problems, imageSignatures } = JSON.parse(
    (await airlift(['verify', bundle, '--policy', policy, '--json'], { codes: [4] })).stdout,
  ) as { problems: { kind: string }[]; imageSignatures: object[] };
  assert.deepEqual(new Set(problems.map(({ kind }) => kind)), new Set(['signature']));
  assert.ok(imageSignatures.every((image) => !('signers' in image)));
});

test('an image that meets one policy and not another one is not reported as signed', async (t) => {
  const [keys, other] = [newCosignKeys(t), newCosignKeys(t)];
  const bundle = await bundleWith(
    t,
    named('ghcr.io/acme/app:1', app),
    underTag(taggedSignature(keys, payloadOf(app.root.digest)), app.root.digest),
  );
  const policy = writePolicy(
    t,
    policyOf('acme', '**', keyAuthority(keys.publicPath)),
    policyOf('approved', '**', keyAuthority(other.publicPath)),
  );
  const report = await verify(bundle, { jobs: 1, policy });
  assert.deepEqual(
    report.problems.map(({ detail }) => detail),
    [
      'policy approved: none of its 1 signatures of cosign is accepted: not by the given key over this digest',
    ],
  );
  assert.deepEqual(report.imageSignatures, [
    { reference: 'ghcr.io/acme/app:1', digest: app.root.digest, found: 1 },
  ]);
});

test('subject and issuer of an identity belong together', async (t) => {
  const sigstore = new TestSigstore();
  const bundle = await bundleWith(
    t,
    named('ghcr.io/acme/app:1', app),
    referrer(sigstore.attached(app, app.root.digest)),
  );
  const crossed = lines(
    '  - keyless:',
    '      identities:',
    '      - issuer: https://elsewhere.example',
    `        subject: ${publisher.identity}`,
    `      - issuer: ${publisher.issuer}`,
    '        subject: someone@acme.example',
  );
  const policy = writePolicy(t, policyOf('crossed', '**', crossed));
  const report = await verify(bundle, { jobs: 1, policy, trustedRoot: sigstore.writeTrustedRoot(t) });
  assert.match(report.problems[0]?.detail ?? '', /whom \S+ vouches for$/);
});

test('the policy in the documentation is one', async (t) => {
  const page = readFileSync(new URL('../../../docs/SECURITY.md', import.meta.url), 'utf8');
  const text = /```yaml\n(apiVersion: policy\.sigstore\.dev[^]*?)```/.exec(page)?.[1] ?? '';
  const key = readFileSync(newCosignKeys(t).publicPath, 'utf8').split('\n').slice(1, -2).join('');
  const policies = await readPolicies(writePolicy(t, text.replace('…', key)));
  assert.deepEqual(
    policies.map(({ name, keys, identities, passes }) => [name, keys.length, identities.length, passes]),
    [
      ['acme', 1, 1, false],
      ['mirrored', 0, 0, true],
    ],
  );
});

test('a policy with mode warn accepts an image with a warning, and other policies still reject it', async (t) => {
  const keys = newCosignKeys(t);
  const bundle = await bundleWith(t, named('ghcr.io/acme/app:1', app));
  const warning = policyOf('soon', '**', keyAuthority(keys.publicPath), 'warn');
  const { stdout } = await airlift(['verify', bundle, '--policy', writePolicy(t, warning)]);
  assert.match(stdout, /^ghcr\.io\/acme\/app:1: not signed$/m);
  assert.match(
    stdout,
    /^warning: ghcr\.io\/acme\/app:1: policy soon: no signature of cosign travels with it$/m,
  );
  const both = writePolicy(t, warning, policyOf('now', '**', keyAuthority(keys.publicPath)));
  const refused = await airlift(['verify', bundle, '--policy', both], { codes: [4] });
  assert.match(refused.stdout, /^refused: ghcr\.io\/acme\/app:1: policy now: no signature/m);
});

test('a policy accepts a signature of the index that a filtered one was cut from', async (t) => {
  const keys = newCosignKeys(t);
  const part = multiPlatform({ name: 'app', platforms: ['linux/amd64'] });
  const bundle = await bundleWith(
    t,
    { ...named('ghcr.io/acme/app:1', part), original: app },
    underTag(taggedSignature(keys, payloadOf(app.root.digest)), app.root.digest),
  );
  const policy = writePolicy(t, policyOf('acme', 'ghcr.io/**', keyAuthority(keys.publicPath)));
  const { stdout } = await airlift(['verify', bundle, '--policy', policy]);
  assert.ok(stdout.includes(`; signed is ${app.root.digest}, from which airlift cut its index`), stdout);
});

test('a policy matches an image by each name that a pod may use for it', async (t) => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const cases: readonly [glob: string, reference: string, expected: boolean][] = [
    ['index.docker.io/library/redis:7', 'redis:7', true],
    ['docker.io/library/redis:7', 'redis:7', true],
    ['redis:7', 'docker.io/library/redis:7', true],
    ['redis', 'redis:latest', true],
    ['redis', 'redis:7', false],
    ['*', 'redis:7', true],
    ['acme/app:*', 'docker.io/acme/app:1', true],
    ['app:*', 'docker.io/acme/app:1', false],
    ['acme/app:*', 'ghcr.io/acme/app:1', false],
    ['ghcr.io/acme/app', `ghcr.io/acme/app@${digest}`, false],
    ['ghcr.io/acme/app*', `ghcr.io/acme/app@${digest}`, true],
    ['ghcr.io/acme/app:1*', `ghcr.io/acme/app:1@${digest}`, true],
  ];
  for (const [glob, reference, expected] of cases) {
    const [policy] = await readPolicies(writePolicy(t, policyOf('one', glob, passing)));
    assert.equal(policy && matches(policy, parseReference(reference)), expected, `${glob} ${reference}`);
  }
});

test('policies that ask for more than airlift checks, and malformed ones, are refused with line and field', async (t) => {
  const keys = newCosignKeys(t);
  const byKey = keyAuthority(keys.publicPath);
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
  const rsaPath = join(temp(t), 'rsa.pub');
  writeFileSync(rsaPath, rsa.export({ type: 'spki', format: 'pem' }));
  const good = policyOf('one', '**', byKey);
  const withAuthority = (...texts: string[]): string => policyOf('one', '**', lines(...texts));
  const withIdentity = (...fields: string[]): string =>
    withAuthority('  - keyless:', '      identities:', `      - ${fields.join('\n        ')}`);
  const cases: readonly [policy: string, message: RegExp][] = [
    [good + '  policy:\n    type: cue\n', /policy\.yaml:\d+: airlift does not check spec\.policy$/],
    [good + '  match:\n  - resource: pods\n', /does not check spec\.match$/],
    ...['attestations', 'ctlog', 'rfc3161timestamp', 'source', 'signatureFormat'].map(
      (name): [string, RegExp] => [
        policyOf('one', '**', `${byKey}\n    ${name}: {}`),
        new RegExp(`does not check spec\\.authorities\\.${name}$`),
      ],
    ),
    ...['url', 'ca-cert', 'trustRootRef', 'insecureIgnoreSCT'].map((name): [string, RegExp] => [
      policyOf('one', '**', `${keylessAuthority}\n      ${name}: x`),
      new RegExp(`does not check spec\\.authorities\\.keyless\\.${name}$`),
    ]),
    ...['kms', 'secretRef'].map((name): [string, RegExp] => [
      withAuthority('  - key:', `      ${name}: x`),
      new RegExp(`does not check spec\\.authorities\\.key\\.${name}$`),
    ]),
    [
      withAuthority('  - key:', '      hashAlgorithm: sha512', '      data: x'),
      /unsupported hashAlgorithm sha512; want sha256$/,
    ],
    [good.replace('glob:', 'regex:'), /does not check spec\.images\.regex$/],
    [good.replace('v1beta1', 'v2'), /unsupported apiVersion policy\.sigstore\.dev\/v2; want/],
    [good.replace('enforce', 'off'), /unsupported mode off; want enforce or warn$/],
    [good.replace('ClusterImagePolicy', 'ConfigMap'), /policy\.yaml:1: not a ClusterImagePolicy$/],
    [good.replace('  name: one', '  labels: {}'), /missing metadata\.name$/],
    [good.replace('  - glob: "**"\n', ''), /missing list of images$/],
    [policyOf('one', '**', '    []'), /missing list of authorities$/],
    [policyOf('one', '[a-z]', byKey), /malformed glob \[a-z\]/],
    [withAuthority('  - name: x'), /want one of key, keyless, static in spec\.authorities$/],
    [withAuthority(byKey, '    static:', '      action: pass'), /want one of key, keyless, static/],
    [withAuthority('  - static:', '      action: maybe'), /unsupported action maybe; want pass or fail$/],
    [withAuthority('  - key: {}'), /missing spec\.authorities\.key\.data$/],
    [
      withAuthority('  - key:', '      data: abc'),
      /want a public key in PEM in spec\.authorities\.key\.data$/,
    ],
    [
      good.replaceAll('PUBLIC', 'PRIVATE'),
      /a secret key in spec\.authorities\.key\.data; want the public key$/,
    ],
    [policyOf('one', '**', keyAuthority(rsaPath)), /unsupported type; got rsa/],
    [withIdentity('issuer: https://x'), /missing subject or subjectRegExp: a certificate of anybody/],
    [withIdentity('subject: a@b'), /missing issuer or issuerRegExp: a certificate of anybody/],
    [
      withIdentity('issuer: https://x', 'subject: a', 'subjectRegExp: a'),
      /want one of subject, subjectRegExp$/,
    ],
    [withIdentity('issuer: https://x', 'subjectRegExp: ("'), /policy\.yaml:\d+: .*regular expression/],
    [withIdentity('issuer: https://x', `subjectRegExp: ${'a'.repeat(513)}`), /too long; got 513 characters/],
    [lines(good, '---', good), /a second policy one$/],
    [good + 'kind: ClusterImagePolicy\n', /the key "kind" is repeated/],
    [good + '  x: [\n', /not YAML/],
    ['# nothing\n', /no policy; want documents of kind ClusterImagePolicy$/],
    [policyOf('one', 'a'.repeat(513), byKey), /more than 512 characters$/],
    [
      Array.from({ length: 101 }, (_, at) => policyOf(`p${at}`, '**', passing)).join('---\n'),
      /more than 100 policies$/,
    ],
    [
      policyOf('one', '**', Array.from({ length: 1000 }, () => passing).join('\n')),
      /more than 1000 patterns/,
    ],
    [`${good}# ${'x'.repeat(1024 * 1024)}\n`, /too large; got \d+ bytes, want at most 1048576$/],
  ];
  for (const [policy, message] of cases) {
    const path = writePolicy(t, policy);
    await assert.rejects(readPolicies(path), { name: 'AirliftError', message }, policy.slice(0, 2000));
  }
});

test('with --cosign-key or an identity beside --policy, an image must meet both', async (t) => {
  const [keys, other] = [newCosignKeys(t), newCosignKeys(t)];
  const sigstore = new TestSigstore();
  const bundle = await bundleWith(t, ...signedTwice(keys, sigstore));
  const withPolicy = (authority: string): string[] => {
    return ['verify', bundle, '--policy', writePolicy(t, policyOf('acme', '**', authority))];
  };
  const identity = [
    ...['--certificate-identity', publisher.identity, '--certificate-oidc-issuer', publisher.issuer],
    ...['--trusted-root', sigstore.writeTrustedRoot(t)],
  ];
  const accepts = withPolicy(keyAuthority(keys.publicPath));
  const rejects = withPolicy(keyAuthority(other.publicPath));
  await airlift([...accepts, '--cosign-key', keys.publicPath]);
  await airlift([...accepts, ...identity]);
  for (const [flags, message] of [
    [[...accepts, '--cosign-key', other.publicPath], /^refused: ghcr\.io\/acme\/app:1: none of its/m],
    [[...accepts, ...identity.with(1, 'https://github.example/other')], /^refused: ghcr\.io\/acme\/app:1: /m],
    [[...rejects, '--cosign-key', keys.publicPath], /^refused: ghcr\.io\/acme\/app:1: policy acme: none/m],
    [[...rejects, ...identity], /^refused: ghcr\.io\/acme\/app:1: policy acme: none/m],
  ] as const)
    assert.match((await airlift([...flags], { codes: [4] })).stdout, message);
});

test('--policy with half an identity, or without the trusted root that it needs, is an error', async (t) => {
  const keys = newCosignKeys(t);
  const bundle = await bundleWith(t, named('ghcr.io/acme/app:1', app));
  const root = new TestSigstore().writeTrustedRoot(t);
  const byKey = ['--policy', writePolicy(t, policyOf('one', '**', keyAuthority(keys.publicPath)))];
  const keyless = ['--policy', writePolicy(t, policyOf('one', '**', keylessAuthority))];
  const refused = [
    '--policy',
    writePolicy(t, policyOf('one', '**', `${keylessAuthority}\n      url: https://x`)),
  ];
  const cases: readonly [flags: readonly string[], code: number, message: RegExp][] = [
    [[...byKey, '--certificate-identity', 'a'], 2, /missing --certificate-oidc-issuer/],
    [[...byKey, '--trusted-root', root], 2, /--trusted-root applies only to certificates/],
    [keyless, 2, /no trusted root is given, and the bundle carries none/],
    [refused, 1, /airlift does not check spec\.authorities\.keyless\.url\n.*from the trusted root/],
    [['--policy', join(temp(t), 'none.yaml')], 1, /read policy .*none\.yaml: no such file/],
  ];
  for (const [flags, code, message] of cases) {
    const { stderr } = await airlift(['verify', bundle, ...flags], { codes: [code] });
    assert.match(stderr, message);
  }
});
