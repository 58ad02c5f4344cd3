import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startFaultProxy } from '../support/faults.js';
import { readSecretKey } from '../../src/signing/secret-key.js';
import { signSums } from '../../src/signing/sign-content.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { airlift, airliftProcess } from '../support/airlift.js';
import { slow, startExportSetup } from '../support/exporting.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { needs, run, type RunResult } from '../support/peers.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { rewriteHead } from './rewrite-head.js';

const env = { SOURCE_DATE_EPOCH: '1700000000' };
const signature = 'airlift/SHA256SUMS.minisig';
const sums = 'airlift/SHA256SUMS';
const cargo = [
  { reference: 'registry.example/acme/app:1', image: multiPlatform({ name: 'app' }) },
  { reference: 'registry.example/acme/tool:1', image: singlePlatform('linux/amd64', { name: 'tool' }) },
];

describe('signed bundles', () => {
  let dir: string;
  const ends: (() => void)[] = [];
  before(async () => {
    dir = temp({ after: (work) => void ends.push(work as () => void) });
    for (const name of ['export', 'officer', 'stranger'])
      await airlift(['keygen', '-o', join(dir, `${name}.key`), '-W']);
    await airlift(['keygen', '-o', join(dir, 'hsm.key'), '-W', '--type', 'ecdsa-p256']);
    const key = await (await readSecretKey(join(dir, 'export.key'))).unlock();
    await writeBundle(join(dir, 'signed.tar'), cargo, { signing: { key, tool: 'airlift:test' } });
    await writeBundle(join(dir, 'plain.tar'), cargo);
  });
  after(() => {
    for (const end of ends) end();
  });

  const at = (name: string): string => join(dir, name);
  const verify = (bundle: string, key: string, code: number): Promise<RunResult> =>
    airlift(['verify', bundle, '--key', at(key)], { codes: [code] });

  test(
    'a bundle that is signed while it is written carries the signature, and stock minisign checks it',
    {
      skip: needs('minisign', 'tar'),
    },
    async (t) => {
      const work = temp(t);
      assert.match((await verify(at('signed.tar'), 'export.pub', 0)).stdout, /valid signature by key/);
      // The lines of docs/SECURITY.md.
      const script = `set -e
      tar xOf ${at('signed.tar')} ${sums} > SHA256SUMS
      tar xOf ${at('signed.tar')} ${signature} > SHA256SUMS.minisig
      minisign -Vm SHA256SUMS -p ${at('export.pub')}
      mkdir unpacked && tar xf ${at('signed.tar')} -C unpacked && cd unpacked
      sha256sum --check --strict --quiet airlift/SHA256SUMS
      { cat airlift/SHA*SUMS | sed 's/^[0-9a-f]*  //'; echo airlift/SHA256SUMS; echo airlift/SHA256SUMS.minisig; } | sort > ../listed
      find . -type f | sed 's,^[.]/,,' | sort | comm -23 - ../listed | sed 's/^/unlisted: /'`;
      const { stdout } = await run('sh', ['-c', script], { cwd: work });
      assert.match(stdout, /Signature and comment signature verified/);
      assert.doesNotMatch(stdout, /unlisted/);
      assert.match(stdout, /Trusted comment: timestamp:1714979289 bundle:sha256:[0-9a-f]{64} airlift:test/);
      const { stdout: listed } = await airlift(['inspect', at('signed.tar')]);
      assert.match(
        listed,
        /SHA256SUMS\.minisig: signature by key [0-9A-F]{16}, not checked: timestamp:1714979289/,
      );
    },
  );

  test(
    'an officer countersigns beside the bundle, which stays as it is',
    {
      skip: needs('minisign', 'tar'),
    },
    async (t) => {
      const work = temp(t);
      const bundle = join(work, 'site.tar');
      copyFileSync(at('signed.tar'), bundle);
      const bytes = readFileSync(bundle);
      await airlift(['sign', bundle, '--key', at('officer.key')], { env });
      await airlift(['sign', bundle, '--key', at('stranger.key'), '--name', 'second'], { env });
      const again = await airlift(['sign', bundle, '--key', at('officer.key')], { codes: [1] });
      assert.match(again.stderr, /site\.tar\.minisig: already exists\n.*--name officer.*--force/);
      assert.deepEqual(readFileSync(bundle), bytes);
      for (const key of ['export.pub', 'officer.pub', 'stranger.pub']) await verify(bundle, key, 0);
      const script = `tar xOf site.tar ${sums} | minisign -Vm /dev/stdin -x site.tar.minisig -p ${at('officer.pub')}`;
      await run('sh', ['-c', script], { cwd: work });
      // And a signature that stock minisign made.
      rmSync(`${bundle}.minisig`);
      const stock = `tar xOf site.tar ${sums} > S && minisign -Sm S -s ${at('officer.key')} -x site.tar.minisig`;
      await run('sh', ['-c', stock], { cwd: work });
      await verify(bundle, 'officer.pub', 0);
    },
  );

  test('the time of a signature follows SOURCE_DATE_EPOCH, and the same content gets the same signature', async (t) => {
    const work = temp(t);
    for (const name of ['a.tar', 'b.tar']) {
      copyFileSync(at('plain.tar'), join(work, name));
      await airlift(['sign', join(work, name), '--key', at('export.key')], { env });
    }
    const [a, b] = ['a.tar', 'b.tar'].map((name) => readFileSync(join(work, `${name}.minisig`), 'utf8'));
    assert.equal(a, b);
    assert.match(a ?? '', /^trusted comment: timestamp:1700000000 bundle:sha256:/m);
  });

  test(
    'ECDSA signatures are checked by openssl, and made by a program',
    { skip: needs('openssl', 'tar') },
    async (t) => {
      const work = temp(t);
      const bundle = join(work, 'site.tar');
      copyFileSync(at('plain.tar'), bundle);
      await airlift(['sign', bundle, '--key', at('hsm.key')]);
      await run('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'kms.pem'], {
        cwd: work,
      });
      await run('openssl', ['ec', '-in', 'kms.pem', '-pubout', '-out', 'kms.pub'], { cwd: work });
      const command = `openssl dgst -sha256 -sign ${join(work, 'kms.pem')}`;
      const wrong = await airlift(
        ['sign', bundle, '--sign-with', command, '--check-with', at('hsm.pub'), '--name', 'kms'],
        { codes: [4] },
      );
      assert.match(wrong.stderr, /site\.tar\.kms\.sig: signature, which is none of the given keys/);
      await airlift([
        'sign',
        bundle,
        '--sign-with',
        command,
        '--check-with',
        join(work, 'kms.pub'),
        '--name',
        'kms',
      ]);
      for (const [key, file] of [
        [at('hsm.pub'), 'site.tar.sig'],
        [join(work, 'kms.pub'), 'site.tar.kms.sig'],
      ] as const) {
        const script = `tar xOf site.tar ${sums} | openssl dgst -sha256 -verify ${key} -signature ${file}`;
        assert.match((await run('sh', ['-c', script], { cwd: work })).stdout, /Verified OK/);
        await airlift(['verify', bundle, '--key', key]);
      }
      // cosign writes signatures in base64.
      const der = readFileSync(`${bundle}.sig`);
      writeFileSync(`${bundle}.sig`, der.toString('base64'));
      await verify(bundle, 'hsm.pub', 0);
      const late = await airlift(
        ['export', 'x.example/a:1', '-o', join(work, 'n.tar'), '--sign', at('hsm.key')],
        {
          codes: [2],
        },
      );
      assert.match(late.stderr, /want a key of minisign\n.*airlift sign/);
      for (const [program, message] of [
        ['exit 3', /exit code 3/],
        ['true', /printed no signature/],
        ['no-such-program-here', /exit code 127/],
      ] as const) {
        const { stderr } = await airlift(['sign', bundle, '--sign-with', program, '--name', 'x'], {
          codes: [1],
        });
        assert.match(stderr, message);
      }
    },
  );

  /** Bundles that must be refused, with the reason by name; each is written into `work`. */
  const refusals: readonly [
    name: string,
    make: (path: string) => Promise<void> | void,
    key: string,
    reason: RegExp,
  ][] = [
    ['an unsigned bundle', (path) => copyFileSync(at('plain.tar'), path), 'export.pub', /not signed; want/],
    [
      'a bundle that another key signed',
      (path) => copyFileSync(at('signed.tar'), path),
      'stranger.pub',
      /SHA256SUMS\.minisig: signature by key [0-9A-F]{16}, which is none of the given keys/,
    ],
    [
      'a valid signature over other content',
      async (path) => {
        await writeBundle(path, cargo.slice(1));
        await airlift(['sign', at('plain.tar'), '--key', at('export.key')], { env });
        renameSync(`${at('plain.tar')}.minisig`, `${path}.minisig`);
      },
      'export.pub',
      /valid signature by key [0-9A-F]{16}, but over other content/,
    ],
    [
      'a signature of the whole file',
      async (path) => {
        copyFileSync(at('plain.tar'), path);
        // Signed as a file that is no bundle.
        writeFileSync(`${path}.txt`, 'x');
        await airlift(['sign', `${path}.txt`, '--key', at('export.key'), '-o', `${path}.minisig`]);
      },
      'export.pub',
      /but over other content/,
    ],
    [
      "a signature whose key id is another key's",
      async (path) => {
        copyFileSync(at('plain.tar'), path);
        await airlift(['sign', path, '--key', at('stranger.key')], { env });
        const [first, second = '', ...rest] = readFileSync(`${path}.minisig`, 'utf8').split('\n');
        const raw = Buffer.from(second, 'base64');
        const known = readFileSync(at('export.pub'), 'utf8').split('\n')[1] ?? '';
        Buffer.from(known, 'base64').copy(raw, 2, 2, 10);
        writeFileSync(`${path}.minisig`, [first, raw.toString('base64'), ...rest].join('\n'));
      },
      'export.pub',
      /signature that names key [0-9A-F]{16}, which did not make it/,
    ],
    [
      'a changed trusted comment',
      async (path) => {
        copyFileSync(at('plain.tar'), path);
        await airlift(['sign', path, '--key', at('export.key')], { env });
        const text = readFileSync(`${path}.minisig`, 'utf8');
        writeFileSync(`${path}.minisig`, text.replace('timestamp:17', 'timestamp:18'));
      },
      'export.pub',
      /which did not make it/,
    ],
    [
      'a signature that is no text of minisign',
      (path) =>
        rewriteHead(
          at('signed.tar'),
          path,
          (entries) => void entries.set(signature, Buffer.from('signed: yes\n')),
        ),
      'export.pub',
      /SHA256SUMS\.minisig: malformed signature: got 1 lines, want 4/,
    ],
    [
      'an entry that no sum covers',
      (path) =>
        rewriteHead(
          at('signed.tar'),
          path,
          (entries) => void entries.set('airlift/evil.sh', Buffer.from('rm -rf /\n')),
        ),
      'export.pub',
      /does not list airlift\/evil\.sh/,
    ],
    [
      'a signed sum without an entry',
      async (path) => {
        const key = await (await readSecretKey(at('export.key'))).unlock();
        await rewriteHead(at('signed.tar'), path, (entries) => {
          const missing = `${'0'.repeat(64)}  blobs/sha256/${'0'.repeat(64)}\n`;
          const changed = Buffer.concat([entries.get(sums) ?? Buffer.alloc(0), Buffer.from(missing)]);
          entries.set(sums, changed);
          entries.set(signature, signSums([changed], { key, tool: 'test' }, new Date(0)));
        });
      },
      'export.pub',
      /blobs\/sha256\/0{64}: listed in airlift\/SHA256SUMS but not in the archive/,
    ],
  ];

  for (const [name, make, key, reason] of refusals)
    test(`verify and import refuse ${name} by name, and import pushes nothing`, async (t) => {
      const work = temp(t);
      const bundle = join(work, 'site.tar');
      await make(bundle);
      assert.match((await verify(bundle, key, 4)).stdout, reason);
      const proxy = await startFaultProxy({ upstream: `http://${await serveStore(t)}` });
      t.after(() => proxy.stop());
      const refused = await airlift(
        ['import', bundle, '--to', proxy.host, '--plain-http', '--require-signature', at(key)],
        { codes: [4] },
      );
      assert.match(refused.stderr, reason);
      assert.equal(proxy.log.requests.length, 0);
    });

  test('import, save and serve accept a bundle that a key of the directory signed, and refuse everything else', async (t) => {
    const work = temp(t);
    const keys = join(work, 'keys');
    mkdirSync(keys);
    copyFileSync(at('stranger.pub'), join(keys, 'a.pub'));
    copyFileSync(at('hsm.pub'), join(keys, 'b.pub'));
    const host = await serveStore(t);
    const required = ['--require-signature', keys];
    const importing = ['import', at('signed.tar'), '--to', host, ...required];
    assert.match((await airlift(importing, { codes: [4] })).stderr, /none of the given keys/);
    copyFileSync(at('export.pub'), join(keys, 'c.pub'));
    await airlift(importing);
    await airlift(['import', '-', '--to', host, ...required], { input: readFileSync(at('signed.tar')) });
    const piped = await airliftProcess(['import', '-', '--to', host, ...required], {
      input: readFileSync(at('plain.tar')),
      codes: [4],
    });
    assert.match(piped.stderr, /check the signature of standard input: not signed/);
    const saved = join(work, 'saved.tar');
    const saving = ['--format', 'oci-archive', '-o', saved, ...required];
    await airlift(['save', at('signed.tar'), ...saving]);
    // What is saved is no bundle any more.
    const archive = await airlift(['import', saved, '--to', host, ...required], { codes: [4] });
    assert.match(archive.stderr, /saved\.tar: not a bundle; only bundles are signed/);
    const merged = await airlift(['import', at('signed.tar'), saved, '--to', host, ...required], {
      codes: [4],
    });
    assert.match(merged.stderr, /saved\.tar: not a bundle/);
    for (const args of [
      ['save', at('plain.tar'), '--format', 'oci-archive', '-o', join(work, 'no.tar')],
      ['serve', at('plain.tar'), '--listen', '127.0.0.1:0'],
      ['import', at('plain.tar'), '-o', join(work, 'no2.tar')],
    ])
      assert.match((await airlift([...args, ...required], { codes: [4] })).stderr, /plain\.tar: not signed/);
    const registry = await airlift(['save', `${host}/acme/app:1`, ...saving, '--force'], { codes: [2] });
    assert.match(registry.stderr, /--require-signature applies only to bundles/);
    const none = join(work, 'empty');
    mkdirSync(none);
    const empty = await airlift(['import', at('signed.tar'), '--to', host, '--require-signature', none], {
      codes: [1],
    });
    assert.match(empty.stderr, /no key; want files \*\.pub or \*\.pem/);
  });

  test(
    'control characters in a trusted comment and in a name reach no terminal',
    { skip: needs('minisign') },
    async (t) => {
      const work = temp(t);
      const bundle = join(work, 'site.tar');
      copyFileSync(at('plain.tar'), bundle);
      const comment = 'made by \u001b[2J\u202eevil';
      const stock = ['-Sm', 'S', '-s', at('export.key'), '-x', 'site.tar.minisig', '-t', comment];
      await run('sh', ['-c', `tar xOf site.tar ${sums} > S`], { cwd: work });
      await run('minisign', stock, { cwd: work });
      for (const args of [
        ['inspect', bundle],
        ['verify', bundle, '--key', at('export.pub')],
        ['inspect', bundle, '--json'],
      ]) {
        const { stdout } = await airlift(args);
        assert.doesNotMatch(stdout, /[\u001b\u202e]/);
        assert.match(stdout, /made by .*evil/);
      }
    },
  );

  test('the signature of a bundle in volumes lies beside their list, whichever of them is named', async (t) => {
    const work = temp(t);
    const bundle = join(work, 'site.tar');
    const size = Math.ceil(statSync(at('plain.tar')).size / 2 / 512) * 512;
    await airlift(['split', at('plain.tar'), '--volume-size', `${size}`, '-o', bundle]);
    for (const named of [bundle, `${bundle}.volumes`, `${bundle}.001`]) {
      await airlift(['sign', named, '--key', at('export.key')]);
      for (const one of [bundle, `${bundle}.volumes`]) await verify(one, 'export.pub', 0);
      rmSync(`${bundle}.minisig`);
    }
  });

  test('a damaged bundle is not signed, and damage is found under a valid signature', async (t) => {
    const work = temp(t);
    const bundle = join(work, 'site.tar');
    copyFileSync(at('signed.tar'), bundle);
    const bytes = readFileSync(bundle);
    bytes[bytes.length - 4096] = (bytes[bytes.length - 4096] ?? 0) ^ 1;
    writeFileSync(bundle, bytes);
    assert.match((await verify(bundle, 'export.pub', 4)).stdout, /^damaged: blobs\//m);
    appendFileSync(bundle, 'x');
    const { stderr } = await airlift(['sign', bundle, '--key', at('officer.key')], { codes: [4] });
    assert.match(stderr, /data after the end of the archive/);
  });
});

test('export --sign puts the same signature into the bundle after a kill as without one', async (t) => {
  const work = temp(t);
  for (const name of ['a', 'b']) await airlift(['keygen', '-o', join(work, `${name}.key`), '-W']);
  const setup = await startExportSetup(t);
  await setup.push('app', multiPlatform({ name: 'app', bigBytes: 3_000_000 }));
  const output = join(work, 'site.tar');
  const args = [...setup.names('app'), '--plain-http', '--sign', join(work, 'a.key')];
  const whole = await setup.undisturbed(...args);
  setup.proxy.use(slow);
  await setup.killAfter(1_000_000, ...args, '-o', output);
  // The signature is in the file before the layers are.
  const signed = Buffer.from('trusted comment: timestamp:1700000000 bundle:sha256:');
  assert.ok(readFileSync(`${output}.partial`).includes(signed));
  setup.proxy.heal();
  const other = await airlift(['export', ...args.slice(0, -1), join(work, 'b.key'), '-o', output], {
    env,
    codes: [1],
  });
  assert.match(other.stderr, /an interrupted export of other content.*signed by key/);
  const { stdout } = await airlift(['export', ...args, '-o', output], { env });
  assert.match(stdout, /SHA256SUMS\.minisig: signature by key/);
  assert.deepEqual(readFileSync(output), whole);
  await airlift(['verify', output, '--key', join(work, 'a.pub')]);
});
