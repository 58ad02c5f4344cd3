import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { attachedSignature, newCosignKeys, payloadOf, taggedSignature } from '../support/cosign.js';
import type { RunResult } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import {
  publisher,
  signingTime,
  TestSigstore,
  type LogEntry,
  type SigningOptions,
} from '../support/sigstore.js';
import { temp, type Cleanup } from '../support/temp.js';

const app = multiPlatform({ name: 'app' });
const tool = singlePlatform('linux/amd64', { name: 'tool' });
const { digest } = app.root;
const sigstore = new TestSigstore();
const named = (name: string, image: TestImage): Cargo => ({
  reference: `registry.example/acme/${name}:1`,
  image,
});
const underTag = (image: TestImage, companionOf = digest): Cargo => ({
  reference: `registry.example/acme/app:${companionOf.replace(':', '-')}.sig`,
  image,
  companionOf,
});
const referrer = (image: TestImage): Cargo => ({ reference: undefined, image });
const wanted = ['--certificate-identity', publisher.identity, '--certificate-oidc-issuer', publisher.issuer];

async function bundleWith(t: Cleanup, ...cargo: Cargo[]): Promise<string> {
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, cargo);
  return path;
}

test('verify accepts keyless signatures under a tag and as a referrer, and says who signed', async (t) => {
  const root = sigstore.writeTrustedRoot(t);
  const bundle = await bundleWith(
    t,
    named('app', app),
    underTag(sigstore.tagged(digest)),
    named('tool', tool),
    referrer(sigstore.attached(tool, tool.root.digest)),
  );
  const { stdout } = await airlift(['verify', bundle, ...wanted, '--trusted-root', root]);
  const by = `signed by ${publisher.identity}, for whom ${publisher.issuer} vouches`;
  assert.ok(stdout.includes(`acme/app:1: ${by} (a tag of cosign)\n`), stdout);
  assert.ok(stdout.includes(`acme/tool:1: ${by} (a referrer)\n`), stdout);
  const patterns = [
    '--certificate-identity-regexp',
    '^https://github.example/acme/',
    '--certificate-oidc-issuer-regexp',
    'actions',
  ];
  const { imageSignatures } = JSON.parse(
    (await airlift(['verify', bundle, ...patterns, '--trusted-root', root, '--quick', '--json'])).stdout,
  ) as { imageSignatures: { digest: string; signed: string; signers: unknown }[] };
  assert.deepEqual(
    imageSignatures.map(({ signed, signers }) => ({ signed, signers })),
    [digest, tool.root.digest].map((signed) => ({ signed, signers: [publisher] })),
  );
});

test('verify accepts a keyless signature of the index that a filtered one was cut from, and keys beside certificates', async (t) => {
  const part = multiPlatform({ name: 'app', platforms: ['linux/amd64'] });
  const keys = newCosignKeys(t);
  const bundle = await bundleWith(
    t,
    { ...named('app', part), original: app },
    underTag(sigstore.tagged(digest, { identity: 'dev@acme.example' })),
    named('tool', tool),
    referrer(attachedSignature(keys, tool, tool.root.digest)),
  );
  const { stdout } = await airlift([
    ...['verify', bundle, '--certificate-identity', 'dev@acme.example'],
    ...['--certificate-oidc-issuer', publisher.issuer, '--trusted-root', sigstore.writeTrustedRoot(t)],
    ...['--cosign-key', keys.publicPath],
  ]);
  assert.ok(
    stdout.includes(`(a tag of cosign); signed is ${digest}, from which airlift cut its index`),
    stdout,
  );
  assert.match(stdout, /acme\/tool:1: signed by key sha256:/);
});

const later = (minutes: number): Date => new Date(signingTime.getTime() + minutes * 60_000);
const flipped = (text: string): string => {
  const bytes = Buffer.from(text, 'base64');
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return bytes.toString('base64');
};
const promiseOf = (entry: LogEntry): { signedEntryTimestamp: string } =>
  entry.inclusionPromise ?? assert.fail('no promise');
const proofOf = (entry: LogEntry): NonNullable<LogEntry['inclusionProof']> =>
  entry.inclusionProof ?? assert.fail('no proof');
/** Replaces an entry by that of another signature of the same kind, which the log really has. */
function swapEntry(entry: LogEntry): void {
  const change = (other: LogEntry): void => void Object.assign(entry, other);
  if (entry.kindVersion.kind === 'dsse') sigstore.bundle(digest, { change });
  else sigstore.tagged(digest, { change });
}

const both = ['tag', 'referrer'] as const;
/** What is wrong, in which form of signatures, and how `verify` names it. */
const refusals: readonly [
  what: string,
  forms: readonly ('tag' | 'referrer')[],
  options: SigningOptions,
  reason: string,
][] = [
  [
    'another identity',
    both,
    { identity: 'https://github.example/acme/apps' },
    'signed by https://github.example/acme/apps',
  ],
  [
    'an identity that contains the wanted one',
    both,
    { identity: `${publisher.identity}.evil.example` },
    `signed by ${publisher.identity}.evil.example`,
  ],
  [
    'another issuer',
    both,
    { issuer: 'https://evil.example' },
    `signed by ${publisher.identity}, whom https://evil.example vouches for`,
  ],
  [
    'a certificate that ended before',
    both,
    { loggedAt: later(11) },
    'its certificate was not valid when it was used',
  ],
  [
    'a certificate that began later',
    both,
    { loggedAt: later(-1) },
    'its certificate was not valid when it was used',
  ],
  [
    'no proof that the certificate was logged',
    both,
    { isUnlogged: true },
    'its certificate has no proof that it was logged (SCT)',
  ],
  ['a certificate of a server', both, { usage: '1.3.6.1.5.5.7.3.1' }, 'its certificate is not for signing'],
  [
    'a changed promise',
    both,
    {
      change: (entry) =>
        void (promiseOf(entry).signedEntryTimestamp = flipped(promiseOf(entry).signedEntryTimestamp)),
    },
    'no log of the trusted root promised its entry (SET)',
  ],
  [
    'a changed time',
    both,
    { change: (entry) => void (entry.integratedTime = String(Number(entry.integratedTime) + 1)) },
    'no log of the trusted root promised its entry (SET)',
  ],
  [
    'a time that nobody signed',
    ['referrer'],
    { change: (entry) => void delete entry.inclusionPromise },
    'no trusted time of its signature: expected 1 timestamps, got 0',
  ],
  [
    'a changed proof of inclusion',
    ['referrer'],
    { change: (entry) => void (proofOf(entry).hashes = proofOf(entry).hashes.map(flipped)) },
    'the proof that a log of the trusted root has its entry is wrong: calculated root hash does not match inclusion proof',
  ],
  [
    'a checkpoint of another root',
    ['referrer'],
    {
      change: (entry) =>
        void (proofOf(entry).checkpoint.envelope = proofOf(entry).checkpoint.envelope.replace(
          '\n2\n',
          '\n3\n',
        )),
    },
    'the proof that a log of the trusted root has its entry is wrong: invalid checkpoint signature',
  ],
  [
    // The library makes a regular expression of it.
    'a name in a checkpoint that is a slow regular expression',
    ['referrer'],
    {
      change: (entry) =>
        void (proofOf(entry).checkpoint.envelope = proofOf(entry).checkpoint.envelope.replace(
          '\u2014 rekor.test',
          '\u2014 (([a-z:/.]*)*)*!',
        )),
    },
    'the name in the checkpoint of its log is malformed',
  ],
  [
    'a checkpoint with endless signatures',
    ['referrer'],
    {
      change: (entry) =>
        void (proofOf(entry).checkpoint.envelope += '\u2014 rekor.test AAAAAAAA\n'.repeat(1000)),
    },
    'the checkpoint of its log is too large',
  ],
  [
    'the entry of another signature',
    both,
    { change: swapEntry },
    'its entry of a log is about another signature:',
  ],
];

test('verify names why it refuses a keyless signature', async (t) => {
  const stranger = new TestSigstore();
  const keys = newCosignKeys(t);
  const other = tool.root.digest;
  const cargo: Cargo[] = [];
  const expected: string[] = [];
  const add = (
    reason: string,
    signatureOf: (image: TestImage) => TestImage,
    form: 'tag' | 'referrer',
  ): void => {
    const image = singlePlatform('linux/amd64', { name: `refused ${expected.length}` });
    const signature = signatureOf(image);
    cargo.push(
      named(`app-${expected.length}`, image),
      form === 'tag' ? underTag(signature, image.root.digest) : referrer(signature),
    );
    expected.push(
      `refused: registry.example/acme/app-${expected.length}:1: none of its 1 signatures of cosign is accepted: ${reason}`,
    );
  };
  for (const [, forms, options, reason] of refusals)
    for (const form of forms)
      add(
        reason,
        (image) =>
          form === 'tag'
            ? sigstore.tagged(image.root.digest, options)
            : sigstore.attached(image, image.root.digest, options),
        form,
      );
  add(`it signs another digest: ${other}`, () => sigstore.tagged(other), 'tag');
  add(`it signs another digest: ${other}`, (image) => sigstore.attached(image, other), 'referrer');
  const unknown = 'no authority of the trusted root issued its certificate';
  add(unknown, (image) => stranger.tagged(image.root.digest), 'tag');
  add(unknown, (image) => stranger.attached(image, image.root.digest), 'referrer');
  const predicateType = 'https://spdx.dev/Document';
  add(
    'it does not sign an image',
    (image) => sigstore.attached(image, image.root.digest, { predicateType }),
    'referrer',
  );
  const byKey = 'it has no certificate: it is signed with a key';
  add(byKey, (image) => taggedSignature(keys, payloadOf(image.root.digest)), 'tag');
  add(byKey, (image) => attachedSignature(keys, image, image.root.digest), 'referrer');

  const bundle = await bundleWith(t, ...cargo);
  const flags = [...wanted, '--trusted-root', sigstore.writeTrustedRoot(t)];
  const { stdout } = await airlift(['verify', bundle, '--quick', ...flags], { codes: [4] });
  const lines = stdout.split('\n');
  for (const text of expected)
    assert.ok(
      lines.some((line) => line.startsWith(text)),
      `${text}\n${stdout}`,
    );
  assert.equal(lines.filter((line) => line.startsWith('refused: ')).length, expected.length);
});

test('verify uses the trusted root in a bundle only if a given key has signed it, or if told so', async (t) => {
  const dir = temp(t);
  for (const name of ['export', 'stranger'])
    await airlift(['keygen', '-o', `${name}.key`, '-W'], { cwd: dir });
  const registry = await serveStore(t);
  await pushImage(registry, 'acme/app', '1', app);
  await pushImage(registry, 'acme/app', digest.replace(':', '-') + '.sig', sigstore.tagged(digest));
  const root = sigstore.writeTrustedRoot(t);
  await airlift(
    ['export', `${registry}/acme/app:1`, '-o', 'site.tar', '--sign', 'export.key', '--trusted-root', root],
    {
      cwd: dir,
    },
  );
  const bundle = join(dir, 'site.tar');
  const verify = (codes: number[], ...flags: string[]): Promise<RunResult> =>
    airlift(['verify', 'site.tar', ...wanted, ...flags], { cwd: dir, codes });
  const accepted = `/acme/app:1: signed by ${publisher.identity}, for whom`;

  const { stderr } = await verify([2]);
  assert.match(
    stderr,
    /the bundle carries a trusted root, but nothing proves who put it there\n.*with --key/,
  );
  assert.ok((await verify([0], '--key', 'export.pub')).stdout.includes(accepted));
  assert.ok((await verify([0], '--trusted-root-from-bundle')).stdout.includes(accepted));
  const refused = await verify([4], '--key', 'stranger.pub');
  assert.ok(!refused.stdout.includes(accepted));
  // The one on the command line wins, whatever the bundle carries.
  const other = new TestSigstore().writeTrustedRoot(t);
  const wins = await verify([4], '--key', 'export.pub', '--trusted-root', other);
  assert.match(wins.stdout, /no authority of the trusted root issued its certificate/);

  // It is an entry of its own, under the sums that the key signed; a changed one is damage, and repair restores it.
  const bytes = readFileSync(bundle);
  const text = readFileSync(root);
  const last = bytes.lastIndexOf(text, bytes.indexOf('airlift/SHA256SUMS'));
  assert.ok(last > bytes.indexOf('airlift/trusted_root.json'));
  bytes[last + 100] = (bytes[last + 100] ?? 0) ^ 1;
  writeFileSync(bundle, bytes);
  const damaged = await airlift(['verify', 'site.tar'], { cwd: dir, codes: [4] });
  assert.match(damaged.stdout, /^damaged: airlift\/trusted_root\.json: digest mismatch/m);
  await airlift(['repair', 'site.tar'], { cwd: dir });
  assert.ok((await verify([0], '--key', 'export.pub')).stdout.includes(accepted));
});

test('flags for certificates that prove nothing, and files that are no trusted root, are errors', async (t) => {
  const bundle = await bundleWith(t, named('app', app));
  const root = sigstore.writeTrustedRoot(t);
  const empty = join(temp(t), 'root.json');
  writeFileSync(empty, JSON.stringify({ ...sigstore.trustedRoot(), certificateAuthorities: [] }));
  const cases: readonly [flags: readonly string[], code: number, message: RegExp][] = [
    [wanted.slice(0, 2), 2, /missing --certificate-oidc-issuer: a certificate of anybody proves nothing/],
    [wanted.slice(2), 2, /missing --certificate-identity:/],
    [['--trusted-root', root], 2, /--trusted-root applies only to certificates/],
    [[...wanted, '--certificate-identity-regexp', '.'], 2, /--certificate-identity cannot be combined with/],
    [[wanted[0] ?? '', '', ...wanted.slice(2)], 2, /--certificate-identity: the value is empty/],
    [
      ['--certificate-identity-regexp', '(', ...wanted.slice(2), '--trusted-root', root],
      2,
      /parse regular expression "\("/,
    ],
    [wanted, 2, /no trusted root is given, and the bundle carries none/],
    [[...wanted, '--trusted-root', bundle], 1, /trusted root .*site\.tar/],
    [[...wanted, '--trusted-root', empty], 1, /it has no certificate authority/],
  ];
  for (const [flags, code, message] of cases) {
    const { stderr } = await airlift(['verify', bundle, ...flags], { codes: [code] });
    assert.match(stderr, message);
  }
});
