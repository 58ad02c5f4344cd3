/** Deltas on their way: in any order, lost, for another site, signed, damaged. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { multiPlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { countWrites, firstMonth, holds, secondMonth, startYear } from '../support/year.js';

type Images = Readonly<Record<string, TestImage>>;

const platforms = ['linux/amd64', 'linux/arm64'];

const of = (images: Images, ...names: readonly string[]): Images =>
  Object.fromEntries(names.map((name) => [name, images[name] ?? assert.fail(name)]));

describe('trips with deltas', { skip: needs('docker-registry', 'minisign', 'tar') }, () => {
  test('deltas of one receipt arrive in any order, twice, or not at all', async (t) => {
    const year = await startYear(t);
    const receipt = join(year.dir, 'site.receipt');
    const old = await year.export(firstMonth, 'old.tar');
    await airlift(['import', old, '--to', year.site.host, '--receipt', receipt]);
    await year.push(secondMonth);
    const trips = [
      of(secondMonth, 'acme/web:2'),
      of(secondMonth, 'acme/latest:now', 'rancher/pause:3.1'),
      of(secondMonth, 'acme/new:1'),
    ];
    const paths: string[] = [];
    for (const [at, images] of trips.entries())
      paths.push(await year.export(images, `trip-${at}.tar`, '--base', receipt));
    for (const at of [2, 0, 2, 0]) await airlift(['import', paths[at] ?? '', '--to', year.site.host]);
    await holds(year.site, { ...trips[0], ...trips[2] });
    await holds(year.site, of(firstMonth, 'acme/latest:now', 'acme/web:1'));
    await airlift(['import', paths[1] ?? '', '--to', year.site.host]);
    await holds(year.site, secondMonth);
    const merged = join(year.dir, 'merged.tar');
    await airlift(['merge', ...paths.slice().reverse(), old, '-o', merged, '--on-existing-tag', 'skip']);
    const { stdout } = await airlift(['inspect', merged, '--json']);
    const roots = (JSON.parse(stdout) as { images: { reference: string; digest: string }[] }).images;
    assert.equal(
      roots.find(({ reference }) => reference.endsWith('acme/latest:now'))?.digest,
      secondMonth['acme/latest:now']?.root.digest,
    );
  });

  test('a delta of a delta that got lost stops before anything is pushed, and passes after it', async (t) => {
    const year = await startYear(t);
    const record = join(year.dir, 'site.sent');
    const sent = async (images: Images, name: string): Promise<string> =>
      year.export(images, name, '--sent', record);
    const first = await sent(of(firstMonth, 'rancher/pause:3.1'), 'first.tar');
    const second = await sent(of(firstMonth, 'acme/web:1'), 'second.tar');
    await year.push(secondMonth);
    const third = await sent(of(secondMonth, 'acme/web:2'), 'third.tar');
    await airlift(['import', first, '--to', year.site.host]);
    const before = countWrites(year.site);
    const { stderr } = await airlift(['import', third, '--to', year.site.host], { codes: [1] });
    assert.match(
      stderr,
      /layers that it leaves out are missing in 127\.0\.0\.1:\d+; nothing was pushed\n {2}missing: sha256:/,
    );
    assert.equal(countWrites(year.site), before);
    for (const bundle of [second, third]) await airlift(['import', bundle, '--to', year.site.host]);
    await holds(year.site, of(secondMonth, 'acme/web:2'));
  });

  test('a delta by the receipt of another site stops at this one, and writes a request for exactly what is missing', async (t) => {
    const year = await startYear(t);
    const other = await startDockerRegistry();
    t.after(() => other.stop());
    const receipt = join(year.dir, 'other.receipt');
    await airlift([
      'import',
      await year.export(firstMonth, 'old.tar'),
      '--to',
      other.host,
      '--receipt',
      receipt,
    ]);
    const pause = await year.export(of(firstMonth, 'rancher/pause:3.1'), 'pause.tar');
    await airlift(['import', pause, '--to', year.site.host]);
    await year.push(secondMonth);
    const delta = await year.export(secondMonth, 'delta.tar', '--base', receipt);
    const request = join(year.dir, 'missing.request');
    const before = countWrites(year.site);
    const args = ['import', delta, '--to', year.site.host, '--request', request];
    const { stderr } = await airlift(args, { codes: [1] });
    const [, missing, total] = /: (\d+) of (\d+) layers that it leaves out are missing in/.exec(stderr) ?? [];
    assert.ok(Number(missing) > 0 && Number(missing) < Number(total), stderr);
    assert.equal(readFileSync(request, 'utf8').match(/^blob /gm)?.length, Number(missing));
    assert.equal(countWrites(year.site), before);
    const repair = join(year.dir, 'repair.tar');
    await airlift(['export', '--request', request, '-o', repair]);
    await airlift([...args.slice(0, -2), '--base', repair]);
    await holds(year.site, secondMonth);
  });

  test('a delta is signed while it is written; stock minisign checks it, and a changed one is refused', async (t) => {
    const year = await startYear(t);
    const key = join(year.dir, 'home');
    await airlift(['keygen', '-o', `${key}.key`, '-W']);
    const old = await year.export(firstMonth, 'old.tar', '--sign', `${key}.key`);
    const required = ['--to', year.site.host, '--require-signature', `${key}.pub`];
    await airlift(['import', old, ...required]);
    await year.push(secondMonth);
    const delta = await year.export(secondMonth, 'delta.tar', '--base', old, '--sign', `${key}.key`);
    await run('tar', ['xf', delta, '-C', year.dir, 'airlift/SHA256SUMS', 'airlift/SHA256SUMS.minisig']);
    const sums = join(year.dir, 'airlift/SHA256SUMS');
    await run('minisign', ['-V', '-p', `${key}.pub`, '-m', sums, '-x', `${sums}.minisig`]);
    await airlift(['verify', delta, '--base', old, '--key', `${key}.pub`]);
    const bytes = readFileSync(delta);
    const spoiled = join(year.dir, 'spoiled.tar');
    const at = bytes.indexOf('CREATE TABLE bases') + 100;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(spoiled, bytes);
    const before = countWrites(year.site);
    assert.match((await airlift(['import', spoiled, ...required], { codes: [4] })).stderr, /digest mismatch/);
    const unsigned = await year.export(secondMonth, 'unsigned.tar', '--base', old);
    assert.match(
      (await airlift(['import', unsigned, ...required], { codes: [4] })).stderr,
      /check the signature/,
    );
    const merged = join(year.dir, 'merged.tar');
    const merging = [
      'merge',
      old,
      '-o',
      merged,
      '--on-existing-tag',
      'overwrite',
      '--require-signature',
      `${key}.pub`,
    ];
    await airlift([...merging, unsigned], { codes: [4] });
    assert.ok(!existsSync(merged));
    await airlift([...merging, delta, '--sign', `${key}.key`]);
    await airlift(['verify', merged, '--key', `${key}.pub`]);
    assert.equal(countWrites(year.site), before);
    await airlift(['import', delta, ...required]);
    await holds(year.site, secondMonth);
  });

  test('a year of monthly trips, as the page about the journey walks through it', async (t) => {
    const year = await startYear(t);
    const second = await startDockerRegistry();
    t.after(() => second.stop());
    const at = (name: string): string => join(year.dir, name);
    const to = ['--to', year.site.host];
    const january = await year.export(firstMonth, 'january.tar');
    await airlift(['import', january, ...to, '--receipt', at('january.receipt')]);
    await year.push(secondMonth);
    const february = await year.export(secondMonth, 'february.tar', '--base', at('january.receipt'));
    await airlift(['import', february, ...to, '--receipt', at('february.receipt')]);
    const now = { 'acme/latest:now': multiPlatform({ name: 'now 3', roots: ['base', 'tools'], platforms }) };
    await year.push(now);
    const bases = ['--base', at('january.receipt'), '--base', february];
    const march = await year.export(now, 'march.tar', ...bases);
    const other = { 'acme/other:1': multiPlatform({ name: 'other', roots: ['tools', 'web'], platforms }) };
    await year.push(other);
    const april = await year.export(other, 'april.tar', ...bases);
    const both = at('both.tar');
    await airlift(['merge', march, april, '--delta', '--on-existing-tag', 'overwrite', '-o', both]);
    await airlift(['import', both, ...to, '--receipt', at('june.receipt')]);
    await holds(year.site, { ...secondMonth, ...now, ...other });
    const full = at('full.tar');
    await airlift(['merge', january, february, both, '--on-existing-tag', 'overwrite', '-o', full]);
    await airlift(['import', full, '--to', second.host]);
    await holds(second, { ...firstMonth, ...secondMonth, ...now, ...other });
    const record = at('second.sent');
    const august = await year.export(secondMonth, 'august.tar', '--base', full, '--sent', record);
    await airlift(['import', august, '--to', second.host]);
    // The record lists what the base has, too.
    const october = await year.export(secondMonth, 'october.tar', '--sent', record);
    const carried = async (bundle: string): Promise<unknown> => {
      const { stdout } = await airlift(['inspect', bundle, '--json']);
      const { blobs, delta } = JSON.parse(stdout) as { blobs: number; delta?: { blobs: number } };
      return [blobs, delta?.blobs];
    };
    assert.deepEqual(await carried(october), await carried(august));
    await airlift(['inventory', year.site.host, '-o', at('december.receipt')]);
    const { stdout } = await airlift(['diff', at('january.receipt'), at('december.receipt'), '--json']);
    const { changes } = JSON.parse(stdout) as { changes: readonly { change: string; image: string }[] };
    assert.deepEqual(
      changes.map(({ change, image }) => `${change} ${image}`),
      ['moved acme/latest:now', 'added acme/new:1', 'added acme/other:1', 'added acme/web:2'],
    );
    await airlift(['verify', both, '--against', year.site.host]);
  });
});
