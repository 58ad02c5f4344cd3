import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { blake2b256 } from '../../src/signing/blake2b.js';
import { scryptParameters } from '../../src/signing/secret-key.js';
import { airlift } from '../support/airlift.js';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';

/** A key of stock minisign 0.11; its password is `correct horse`. */
const stockKey = `untrusted comment: minisign encrypted secret key
RWRTY0IyqVJHYt8nuTpVllkVnGkHgfdRoc7oF5xVVqjKuhw2uPoAAAACAAAAAAAAAEAAAAAACYV2Z3FacXeRqCPGvlH5VVsWEA05SpfVpaADe1T6QamFTYmKN6g0lBTu7f0xJECF3Vyu70tQe5ytNqbN8ZmBdoqOCxxygqH31r3T+vi020qJX+IyKJrZci+8zmP9wVocK8MB7hkUq4c=
`;
const stockPublicKey = `untrusted comment: minisign public key 635838AA7E3E61B6
RWS2YT5+qjhYYwcYqe9hv+anv33nbNhr06pEE3p9/3aS8FH3kVWis13l
`;

test('the checksum of keys is BLAKE2b with 32 bytes', () => {
  // From Python's hashlib.blake2b(…, digest_size=32).
  const cases: [Uint8Array, string][] = [
    [Buffer.alloc(0), '0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8'],
    [Buffer.from('abc'), 'bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319'],
    [Buffer.alloc(128, 'x'), '164ffb7089bae6f5a62fb0795e751dc9e88eac92e1a5b2fafe93a25abf2d9c3b'],
    [
      Buffer.from([...Array(200).keys(), ...Array(56).keys()]),
      'cbd4b41f8b65b2f05d52f0208ce0c46596ba981ecbbeac831611ede7e9bbd1e6',
    ],
  ];
  for (const [message, hex] of cases) assert.equal(blake2b256(message).toString('hex'), hex);
});

test("the parameters of scrypt follow from minisign's limits, and a key cannot ask for more than 2 GiB", () => {
  assert.deepEqual(scryptParameters(33_554_432n, 1_073_741_824n, 'k'), { N: 2 ** 20, r: 8, p: 1 });
  // The limits of libsodium for interactive use.
  assert.deepEqual(scryptParameters(524_288n, 16_777_216n, 'k'), { N: 2 ** 14, r: 8, p: 1 });
  for (const memory of [2n ** 33n, 2n ** 64n - 1n])
    assert.throws(() => scryptParameters(2n ** 63n, memory, 'k'), /too much memory/);
});

test('keygen writes files that only the owner can read, and never overwrites one', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'export.key');
  const { stdout } = await airlift(['keygen', '-o', path, '--unencrypted']);
  const id = /^created key ([0-9A-F]{16})$/m.exec(stdout)?.[1];
  assert.ok(id !== undefined, stdout);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.ok(readFileSync(join(dir, 'export.pub'), 'utf8').includes(id));
  const before = readFileSync(path);
  for (const output of [path, join(dir, 'export')]) {
    const { stderr } = await airlift(['keygen', '-o', output, '-W'], { codes: [1] });
    assert.match(stderr, /write key .*: already exists; keys are never overwritten/);
  }
  assert.deepEqual(readFileSync(path), before);
});

test('a key without a terminal needs a file with the password, and a wrong password is refused', async (t) => {
  const dir = temp(t);
  const path = join(dir, 'k.key');
  const { stderr } = await airlift(['keygen', '-o', path], { codes: [2] });
  assert.match(stderr, /AIRLIFT_KEY_PASSWORD_FILE=FILE.*--unencrypted/);
  const [right, wrong] = [join(dir, 'right'), join(dir, 'wrong')];
  writeFileSync(right, 'opensesame\n');
  writeFileSync(wrong, 'opensesam\n');
  writeFileSync(join(dir, 'file'), 'content');
  // ECDSA keys: their password protection is cheap. minisign's is tested below.
  await airlift(['keygen', '-o', path, '--type', 'ecdsa-p256'], {
    env: { AIRLIFT_KEY_PASSWORD_FILE: right },
  });
  assert.match(readFileSync(path, 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  const sign = ['sign', join(dir, 'file'), '--key', path];
  const refused = await airlift(sign, { env: { AIRLIFT_KEY_PASSWORD_FILE: wrong }, codes: [1] });
  assert.match(refused.stderr, /k\.key: wrong password/);
  await airlift(sign, { env: { AIRLIFT_KEY_PASSWORD_FILE: right } });
  for (const text of [refused.stderr, refused.stdout]) assert.doesNotMatch(text, /opensesam/);
});

describe('keys and signatures of stock minisign', { skip: needs('minisign') }, () => {
  test('minisign uses an encrypted key of airlift, and airlift one of minisign', async (t) => {
    const dir = temp(t);
    writeFileSync(join(dir, 'password'), 'correct horse\n');
    const env = { AIRLIFT_KEY_PASSWORD_FILE: join(dir, 'password') };
    writeFileSync(join(dir, 'file'), 'content');
    await airlift(['keygen', '-o', 'own.key'], { cwd: dir, env });
    const signed = ['-Sm', 'file', '-s', 'own.key', '-x', 'by-minisign', '-t', 'as agreed'];
    await run('minisign', signed, { cwd: dir, input: 'correct horse\n' });
    writeFileSync(join(dir, 'file.minisig'), readFileSync(join(dir, 'by-minisign')));
    const { stdout } = await airlift(['verify', 'file', '--key', 'own.pub'], { cwd: dir });
    assert.match(stdout, /valid signature by key [0-9A-F]{16} \(own\.pub\): as agreed/);

    writeFileSync(join(dir, 'stock.key'), stockKey, { mode: 0o600 });
    writeFileSync(join(dir, 'stock.pub'), stockPublicKey);
    await airlift(['sign', 'file', '--key', 'stock.key', '--force'], { cwd: dir, env });
    const checked = await run('minisign', ['-Vm', 'file', '-p', 'stock.pub', '-Q'], { cwd: dir });
    assert.match(checked.stdout, /^timestamp:\d+ file:file sha256:[0-9a-f]{64} airlift:\S+$/m);
  });

  test('unencrypted keys of both programs work in both', async (t) => {
    const dir = temp(t);
    writeFileSync(join(dir, 'file'), 'content');
    await run('minisign', ['-G', '-W', '-p', 'a.pub', '-s', 'a.key'], { cwd: dir });
    await airlift(['keygen', '-o', 'b.key', '-W'], { cwd: dir });
    for (const name of ['a', 'b']) {
      await airlift(['sign', 'file', '--key', `${name}.key`, '--name', name], { cwd: dir });
      await run('minisign', ['-Vm', 'file', '-x', `file.${name}.minisig`, '-p', `${name}.pub`], { cwd: dir });
      await run('minisign', ['-Sm', 'file', '-s', `${name}.key`, '-x', 'file.minisig'], { cwd: dir });
      await airlift(['verify', 'file', '--key', `${name}.pub`], { cwd: dir });
    }
    await run('minisign', ['-Sm', 'file', '-s', 'a.key', '-x', 'file.minisig', '-l'], { cwd: dir });
    await airlift(['keygen', '-o', 'c.key', '-W'], { cwd: dir });
    const legacy = await airlift(['verify', 'file', '--key', 'c.pub'], { cwd: dir, codes: [4] });
    assert.match(legacy.stdout, /file\.minisig: malformed signature: a legacy signature of minisign/);
  });
});

test('swapped and unknown keys are refused with the file to name instead', async (t) => {
  const dir = temp(t);
  writeFileSync(join(dir, 'file'), 'content');
  await airlift(['keygen', '-o', 'm.key', '-W'], { cwd: dir });
  await airlift(['keygen', '-o', 'e.key', '-W', '--type', 'ecdsa-p256'], { cwd: dir });
  writeFileSync(join(dir, 'other.pub'), 'ssh-ed25519 AAAA someone\n');
  const cases: [string[], RegExp, number][] = [
    [['verify', 'file', '--key', 'm.key'], /m\.key: this is a secret key.*\n.*m\.pub/, 2],
    [['verify', 'file', '--key', 'e.key'], /e\.key: this is a secret key.*\n.*e\.pub/, 2],
    [['sign', 'file', '--key', 'm.pub'], /m\.pub: this is a public key.*\n.*m\.key/, 2],
    [['sign', 'file', '--key', 'e.pub'], /e\.pub: this is a public key/, 2],
    [['verify', 'file', '--key', 'other.pub'], /other\.pub: got 1 lines, want 2/, 1],
    [['verify', 'file', '--key', 'none.pub'], /none\.pub: no such file or directory/, 1],
    [['sign', 'file'], /want --key or --sign-with/, 2],
  ];
  for (const [args, message, code] of cases) {
    const { stderr } = await airlift(args, { cwd: dir, codes: [code] });
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /BEGIN|RWQ|at file:/);
  }
});
