import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { smallCargo } from '../fuzz/bundles.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { writeFakeKit } from '../kit/fake-kit.js';
import { airlift } from '../support/airlift.js';
import { singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';

describe('files that are signed', () => {
  const dir = temp({ after });
  const at = (name: string): string => join(dir, name);
  before(async () => {
    for (const name of ['export', 'stranger']) await airlift(['keygen', '-o', at(`${name}.key`), '-W']);
    await airlift(['keygen', '-o', at('hsm.key'), '-W', '--type', 'ecdsa-p256']);
  });

  /** Verifies a file that is not signed, signed, signed by another key, and changed after it was signed. */
  async function check(path: string, change: () => void): Promise<void> {
    const verify = async (key: string, code: number): Promise<string> =>
      (await airlift(['verify', path, '--key', at(key)], { codes: [code] })).stdout;
    assert.match(
      await verify('export.pub', 4),
      new RegExp(`^refused: ${path}: not signed; want ${path}.minisig beside it$`, 'm'),
    );
    for (const [key, extension] of [
      ['export', 'minisig'],
      ['hsm', 'sig'],
    ] as const) {
      const before = readFileSync(path);
      await airlift(['sign', path, '--key', at(`${key}.key`)]);
      assert.match(
        await verify(`${key}.pub`, 0),
        new RegExp(`^verified ${path}: signed by a given key$`, 'm'),
      );
      const stranger = await verify('stranger.pub', 4);
      assert.match(stranger, new RegExp(`^${path}: no valid signature by ${at('stranger.pub')}$`, 'm'));
      change();
      const changed = await verify(`${key}.pub`, 4);
      assert.match(
        changed,
        key === 'export' ? /valid signature .*, but over other content/ : /none of the given keys/,
      );
      assert.match(changed, new RegExp(`^${path}: no valid signature by ${at(`${key}.pub`)}$`, 'm'));
      writeFileSync(path, before);
      rmSync(`${path}.${extension}`);
    }
  }

  test('a receipt that inventory writes', async (t) => {
    const site = await serveStore(t);
    await pushImage(site, 'team/app', '1', singlePlatform('linux/amd64', { name: 'app' }));
    const path = at('site.receipt');
    await airlift(['inventory', site, '-o', path]);
    await check(path, () => {
      // Whoever deletes a line makes the next delta larger, and nobody may do so unseen.
      const [first = '', ...lines] = readFileSync(path, 'utf8').split('\n');
      writeFileSync(path, [first, ...lines.slice(0, -2), ''].join('\n'));
    });
  });

  test('a request that verify writes', async () => {
    const bundle = at('damaged.tar');
    await writeBundle(bundle, smallCargo().slice(0, 2));
    const bytes = readFileSync(bundle);
    const last = bytes.length - 1024 - 600;
    bytes[last] = (bytes[last] ?? 0) ^ 1;
    writeFileSync(bundle, bytes);
    const path = at('site.request');
    await airlift(['verify', bundle, '--request', path], { codes: [4] });
    await check(path, () =>
      writeFileSync(path, readFileSync(path, 'utf8').replace(/^bundle .*$/m, 'bundle other.tar')),
    );
  });

  test('the SHA256SUMS of a kit', { skip: needs('sha256sum') }, async () => {
    const kit = at('airlift');
    writeFakeKit(kit, { 'linux/amd64': 'echo one' });
    await run('sh', ['-c', 'sha256sum airlift linux-amd64.gz > SHA256SUMS'], { cwd: kit });
    const path = join(kit, 'SHA256SUMS');
    await check(path, () => appendFileSync(path, `${'0'.repeat(64)}  more\n`));
  });

  test('a list of volumes: the signature covers the bundle, and the list has to fit its volumes', async () => {
    mkdirSync(at('parts'));
    await writeBundle(at('site.tar'), smallCargo().slice(0, 2));
    await airlift(['split', at('site.tar'), '--volume-size', '64K', '-o', `${at('parts')}/`]);
    const list = join(at('parts'), 'site.tar.volumes');
    const verify = async (key: string, code: number): Promise<string> =>
      (await airlift(['verify', list, '--key', at(key)], { codes: [code] })).stdout;
    assert.match(await verify('export.pub', 4), /^refused: .*: not signed/m);
    await airlift(['sign', list, '--key', at('export.key')]);
    assert.match(await verify('export.pub', 0), /^signed by .*|valid signature/m);
    assert.match(await verify('stranger.pub', 4), /^refused: .*none of the given keys/m);
    const text = readFileSync(list, 'utf8');
    const [one = '', two = ''] = text.match(/sha256:\w{64}/g)?.slice(1) ?? [];
    writeFileSync(list, text.replace(one, two));
    assert.match(
      await verify('export.pub', 4),
      /^damaged: site\.tar\.volumes: lists another digest for site\.tar\.001/m,
    );
    writeFileSync(list, text);
    const volume = join(at('parts'), 'site.tar.002');
    const bytes = readFileSync(volume);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    writeFileSync(volume, bytes);
    assert.match(await verify('export.pub', 4), /^damaged: site\.tar\.002: digest mismatch/m);
  });
});
