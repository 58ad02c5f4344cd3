import assert from 'node:assert/strict';
import { readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { keygen } from '../../src/signing/keygen.js';
import { airlift } from '../support/airlift.js';
import { needs, run } from '../support/peers.js';
import { askRegistry } from '../support/registry-http.js';
import { temp } from '../support/temp.js';
import { firstMonth, holds, secondMonth, startYear } from '../support/year.js';

const skip = needs('docker-registry', 'minisign', 'tar', 'sha256sum');

test(
  'a signed delta in volumes is verified, refused while a volume is lost, and imported',
  { skip },
  async (t) => {
    const year = await startYear(t);
    const old = await year.export(firstMonth, 'old.tar');
    const receipt = join(year.dir, 'site.receipt');
    await airlift(['import', old, '--to', year.site.host, '--receipt', receipt]);
    await year.push(secondMonth);
    const keys = temp(t);
    const mine = await keygen({ output: join(keys, 'mine.key') });
    const other = await keygen({ output: join(keys, 'other.key') });
    const flags = ['--base', receipt, '--sign', mine.secretKey];
    const whole = await year.export(secondMonth, 'whole.tar', ...flags);
    const volumeSize = Math.ceil(statSync(whole).size / 5 / 512) * 512;
    await year.export(secondMonth, 'delta.tar', ...flags, '--volume-size', String(volumeSize));
    const list = join(year.dir, 'delta.tar.volumes');
    const volumes = readdirSync(year.dir).filter((name) => /^delta\.tar\.\d{3}$/.test(name));
    assert.ok(volumes.length >= 4, volumes.join());

    // Readers that are not airlift.
    const dir = temp(t);
    const [first = '', ...others] = volumes.map((name) => join(year.dir, name));
    await run('sh', ['-c', 'cat "$@" > joined.tar', 'sh', first, ...others], { cwd: dir });
    await run('cmp', ['joined.tar', whole], { cwd: dir });
    await run('sh', ['-c', 'tar xf joined.tar && sha256sum --quiet -c airlift/SHA256SUMS'], { cwd: dir });
    await run('minisign', ['-Vm', 'airlift/SHA256SUMS', '-p', mine.publicKey], { cwd: dir });

    const verify = ['verify', list, '--base', old, '--key', mine.publicKey];
    const { stdout } = await airlift(verify);
    assert.match(stdout, /a delta: the base has the \d+ layers/);
    for (const name of volumes) await airlift(['verify', join(year.dir, name)]);

    const isPublished = async (): Promise<boolean> => {
      const { status } = await askRegistry(year.site.host, {
        method: 'HEAD',
        path: '/v2/acme/new/manifests/1',
      });
      return status === 200;
    };
    const importing = ['import', list, '--to', year.site.host, '--require-signature'];
    // A lost volume: the last one has a layer, the first one the catalog.
    for (const [name, want] of [
      [volumes.at(-1) ?? '', /\d{3}: missing in .*\n {4}breaks .*acme\//],
      [volumes[0] ?? '', /delta\.tar\.001: missing in .*\n {2}delta\.tar\.001 holds the catalog/],
    ] as const) {
      renameSync(join(year.dir, name), join(dir, name));
      const lost = await airlift([...importing, mine.publicKey], { codes: [4] });
      assert.match(lost.stderr, want);
      const elsewhere = await airlift([...verify, '--volume-dir', dir]);
      assert.match(elsewhere.stdout, /nothing lost or changed/);
      const verified = await airlift(verify, { codes: [4] });
      assert.match(verified.stdout, new RegExp(`${name}: missing in`), verified.stderr);
      renameSync(join(dir, name), join(year.dir, name));
    }
    // Two volumes that changed their names are as wrong as any other content.
    const [second = '', third = ''] = volumes.slice(1, 3).map((name) => join(year.dir, name));
    const swap = (): void => {
      renameSync(second, `${second}.x`);
      renameSync(third, second);
      renameSync(`${second}.x`, third);
    };
    swap();
    const swapped = await airlift(verify, { codes: [4] });
    assert.match(swapped.stdout, /delta\.tar\.002: digest mismatch/);
    assert.match(swapped.stdout, /delta\.tar\.003: digest mismatch/);
    assert.match((await airlift([...importing, mine.publicKey], { codes: [4] })).stderr, /delta\.tar\.00/);
    swap();
    const untrusted = await airlift([...importing, other.publicKey], { codes: [4] });
    assert.match(untrusted.stderr, /signature/);
    assert.equal(await isPublished(), false);

    await airlift([...importing, mine.publicKey]);
    await holds(year.site, secondMonth);
  },
);
