import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { checkFits } from '../../src/stow/stow.js';
import { failsWith } from '../support/errors.js';
import { airlift } from '../support/airlift.js';
import { startAirlift } from '../support/started.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

describe('airlift stow', () => {
  const dir = temp({ after });
  const site = join(dir, 'site.tar');
  let bytes: Buffer;
  before(async () => {
    await writeBundle(site, everyKind());
    bytes = readFileSync(site);
  });

  const medium = (): string => mkdtempSync(join(dir, 'usb-'));
  /** Makes a program `dd` that comes before the real one. */
  function withDd(script: string): Record<string, string> {
    const bin = mkdtempSync(join(dir, 'bin-'));
    writeFileSync(join(bin, 'dd'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, 'dd'), 0o755);
    return { PATH: `${bin}:${process.env['PATH'] ?? ''}` };
  }

  test('copies a bundle with its signatures and the kit, and reads each byte back', async () => {
    const source = mkdtempSync(join(dir, 'home-'));
    const bundle = join(source, 'site.tar');
    writeFileSync(bundle, bytes);
    const beside = {
      'site.tar.minisig': 'a signature',
      'site.tar.officer.sig': 'another',
      'site.tar.jo@acme+hq.minisig': 'a name that sign accepts',
      'README-FIRST.txt': 'read me',
      'airlift/SHA256SUMS': 'sums',
      'airlift/airlift': '#!/bin/sh',
      'airlift/LICENSES/node.txt': 'licence',
    };
    mkdirSync(join(source, 'airlift', 'LICENSES'), { recursive: true });
    for (const [name, text] of Object.entries(beside)) writeFileSync(join(source, name), text);
    chmodSync(join(source, 'airlift/airlift'), 0o755);
    writeFileSync(join(source, 'other.tar'), 'not this one');
    const usb = medium();
    const env = withDd('exit 1');
    const { stdout } = await airlift(['stow', bundle, usb], { env });
    for (const [name, text] of Object.entries(beside))
      assert.equal(readFileSync(join(usb, name), 'utf8'), text);
    assert.ok(readFileSync(join(usb, 'site.tar')).equals(bytes));
    assert.equal(statSync(join(usb, 'airlift/airlift')).mode & 0o111, 0o111);
    assert.ok(!existsSync(join(usb, 'other.tar')));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    assert.ok(stdout.includes(`${sha256}  ${join(usb, 'site.tar')}\n`));
  });

  test('copies the volumes of a bundle and their list', async () => {
    const source = mkdtempSync(join(dir, 'home-'));
    await airlift(['split', site, '--volume-size', '4M', '-o', source]);
    const usb = medium();
    await airlift(['stow', join(source, 'site.tar.volumes'), usb]);
    for (const name of ['site.tar.001', 'site.tar.002', 'site.tar.003', 'site.tar.volumes'])
      assert.ok(readFileSync(join(usb, name)).equals(readFileSync(join(source, name))));
    await airlift(['verify', join(usb, 'site.tar.volumes')]);
  });

  test('ends with "safe to unplug" only if dd has read everything past the cache', async () => {
    const direct = withDd('for a; do case $a in if=*) exec cat "${a#if=}";; esac; done');
    const proven = await airlift(['stow', site, medium()], { env: direct });
    assert.match(proven.stdout, /every byte is right\nsafe to unplug\n$/);
    for (const env of [withDd('echo "dd: Invalid argument" >&2; exit 1'), withDd('exit 127')]) {
      const { stdout } = await airlift(['stow', site, medium()], { env });
      assert.match(
        stdout,
        /\nnext: unplug the medium, plug it in again, then: airlift verify .*site\.tar\n$/,
      );
      assert.ok(!stdout.includes('safe to unplug'));
    }
  });

  test('asks to plug the medium in again where dd cannot read past the cache, and then reads every file', async () => {
    const env = withDd('exit 1');
    const usb = medium();
    const copy = join(usb, 'site.tar');
    const away = `${copy}.away`;
    const asked = startAirlift(['stow', site, usb], { env, isAsked: true });
    const questions = (): number => asked.stderr().split('then press Enter\n').length - 1;
    await until('the first question', () => questions() === 1, 60_000);
    renameSync(copy, away);
    asked.type('\n');
    await until('the second question', () => questions() === 2, 60_000);
    assert.ok(
      asked
        .stderr()
        .includes(`${copy} is not there\nunplug the medium and plug it in again, then press Enter\n`),
    );
    renameSync(away, copy);
    asked.type('\n');
    const { code, stdout } = await asked.ended;
    assert.equal(code, 0);
    assert.match(
      stdout,
      /\nread back from the medium, plugged in again: every byte is right\nsafe to unplug\n$/,
    );
    // A medium that has lost a byte.
    const lying = startAirlift(['stow', site, usb], { env, isAsked: true });
    await until('the question', () => lying.stderr().includes('then press Enter\n'), 60_000);
    const wrong = Buffer.from(bytes);
    wrong[wrong.length - 3000] = (wrong[wrong.length - 3000] ?? 0) ^ 1;
    writeFileSync(copy, wrong);
    lying.type('\n');
    const ended = await lying.ended;
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /the medium returned other bytes than were written/);
    assert.ok(!ended.stdout.includes('safe to unplug'));
    assert.ok(!existsSync(copy));
  });

  test('copies a bundle as volumes, and proves them again when they are there', async () => {
    const direct = withDd('for a; do case $a in if=*) exec cat "${a#if=}";; esac; done');
    const usb = medium();
    const args = ['stow', site, usb, '--volume-size', '4M'];
    const lying = withDd('for a; do case $a in if=*) tr a b <"${a#if=}";; esac; done');
    await airlift(args, { env: lying, codes: [1] });
    assert.ok(!existsSync(join(usb, 'site.tar.volumes')));
    const { stdout } = await airlift(args, { env: direct });
    assert.match(stdout, /safe to unplug\n$/);
    const volumes = readdirSync(usb)
      .filter((name) => /^site\.tar\.\d{3}$/.test(name))
      .sort();
    assert.ok(volumes.length > 1);
    assert.deepEqual(readdirSync(usb).sort(), [...volumes, 'site.tar.volumes']);
    assert.ok(Buffer.concat(volumes.map((name) => readFileSync(join(usb, name)))).equals(bytes));
    const again = await airlift(args, { env: direct });
    assert.match(again.stdout, /were there already\n/);
    const { stderr } = await airlift(
      ['stow', join(usb, 'site.tar.volumes'), medium(), '--volume-size', '2M'],
      { codes: [2] },
    );
    assert.match(stderr, /it is in volumes already/);
  });

  test('refuses a bundle that FAT32 cannot hold, with the flag to use', async () => {
    const fat = { name: 'FAT32', maxFile: 2 ** 32 - 1 };
    const item = { from: site, to: join(medium(), 'site.tar'), size: 2 ** 32 };
    await failsWith(
      checkFits([item], fat, undefined),
      'no-space',
      /FAT32 holds files of at most 4294967295 bytes; got 4294967296 bytes/,
      /`volumeSize: 'fat32'`/,
    );
    await failsWith(checkFits([item], fat, 2 ** 32), 'no-space', /got volumes of 4294967296 bytes/, /fat32/);
    await checkFits([{ ...item, size: 1000 }], fat, 'fat32');
  });

  test('reads back with the real dd', async () => {
    const usb = medium();
    const json = await airlift(['stow', site, usb, '--json']);
    const summary = JSON.parse(json.stdout) as { isProven: boolean; size: number };
    assert.equal(typeof summary.isProven, 'boolean');
    assert.ok(readFileSync(join(usb, 'site.tar')).equals(bytes));
  });

  test('refuses a medium that returns other bytes, and gives the copy no name', async () => {
    const usb = medium();
    const lying = withDd('for a; do case $a in if=*) tr a b <"${a#if=}";; esac; done');
    const { stderr } = await airlift(['stow', site, usb], { env: lying, codes: [1] });
    assert.match(stderr, /the medium returned other bytes than were written/);
    assert.ok(!existsSync(join(usb, 'site.tar')));
  });

  test('resumes a copy that was killed, and does not believe what is there', async () => {
    const large = join(dir, 'large');
    mkdirSync(large);
    const usb = medium();
    const bundle = join(large, 'site.tar');
    writeFileSync(bundle, bytes);
    const partial = join(usb, 'site.tar.partial');
    const wrong = Buffer.from(bytes.subarray(0, bytes.length - 5000));
    wrong[wrong.length >> 1] = (wrong[wrong.length >> 1] ?? 0) ^ 1;
    writeFileSync(partial, wrong);
    const direct = withDd('for a; do case $a in if=*) exec cat "${a#if=}";; esac; done');
    const { stdout } = await airlift(['stow', bundle, usb, '--json'], { env: direct });
    assert.ok(readFileSync(join(usb, 'site.tar')).equals(bytes));
    assert.ok(!existsSync(partial));
    assert.equal((JSON.parse(stdout) as { isProven: boolean }).isProven, true);
    // Again: everything is there.
    const again = await airlift(['stow', bundle, usb], { env: direct });
    assert.match(again.stdout, /were there already\n/);
  });

  test('kill -9 while it copies or reads back leaves no file with the final name', async () => {
    for (const stage of ['copy', 'read back']) {
      const usb = medium();
      // A dd that does not end before airlift does marks the moment of reading back.
      const env = withDd(`touch ${join(usb, 'reading')}; while kill -0 $PPID; do sleep 0.1; done`);
      const run = startAirlift(['stow', site, usb], { env });
      let isEnded = false;
      void run.ended.then(() => (isEnded = true));
      const sign = join(usb, stage === 'copy' ? 'site.tar.partial' : 'reading');
      await until(sign, () => isEnded || existsSync(sign), 60_000);
      run.send('SIGKILL');
      assert.equal((await run.ended).signal, 'SIGKILL');
      assert.ok(!existsSync(join(usb, 'site.tar')));
      await airlift(['stow', site, usb]);
      assert.ok(readFileSync(join(usb, 'site.tar')).equals(bytes));
    }
  });

  test('refuses a damaged bundle, a wrong target and other content before it writes', async () => {
    const usb = medium();
    const damaged = join(dir, 'damaged.tar');
    const copy = Buffer.from(bytes);
    copy[copy.length - 5000] = (copy[copy.length - 5000] ?? 0) ^ 1;
    writeFileSync(damaged, copy);
    const refused = await airlift(['stow', damaged, usb], { codes: [4] });
    assert.match(refused.stderr, /it is damaged already/);
    await airlift(['stow', site, join(dir, 'none')], { codes: [1] });
    await airlift(['stow', site, dir], { codes: [2] });
    await airlift(['stow', join(dir, 'none.tar'), usb], { codes: [1] });
    writeFileSync(join(usb, 'site.tar'), 'something else');
    const exists = await airlift(['stow', site, usb], { codes: [1] });
    assert.match(exists.stderr, /already exists, with other content\n.*--force/);
    await airlift(['stow', site, usb, '--force']);
    assert.ok(readFileSync(join(usb, 'site.tar')).equals(bytes));
    const linked = medium();
    symlinkSync(join(dir, 'outside'), join(linked, 'site.tar.partial'));
    await airlift(['stow', site, linked], { codes: [1] });
    assert.ok(!existsSync(join(dir, 'outside')));
  });
});
