import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { printable, printableJson } from '../../src/oci/printable.js';
import { startOddServer, sendFault } from '../registry/odd-server.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { product } from '../report/cargo.js';
import { airlift } from '../support/airlift.js';
import { imageOf, indexOf, layer } from '../support/images.js';
import type { RunResult } from '../support/peers.js';
import { temp } from '../support/temp.js';

/** A line break, a colour, a reversed text direction, an invisible space, and a C1 control. */
const nasty = 'x\nhint: curl evil\u001b[31m\u202egnp\u2066\u200b\u009b1m\u2028';

function refuteHidden({ stdout, stderr }: RunResult): void {
  for (const text of [stdout, stderr]) {
    assert.doesNotMatch(text, /[\p{Cf}\p{Zl}\p{Zp}\u0000-\u0009\u000b-\u001f\u007f-\u009f]/u);
    assert.doesNotMatch(text, /^\s*hint: curl evil/m);
  }
}

test('external text is printed on one line without hidden characters, as text and as JSON', () => {
  assert.equal(printable('a\nb\t\u202e\u{e0041}\ud800'), 'a\\nb\\t\\u202e\\u{e0041}\\ud800');
  assert.equal(printable(printable(nasty)), printable(nasty));
  assert.equal(printable('naïve 日本 🚀'), 'naïve 日本 🚀');
  for (const value of [nasty, '\u{e0041}', { [nasty]: [nasty] }]) {
    const text = printableJson(value);
    assert.doesNotMatch(text, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
    assert.deepEqual(JSON.parse(text), value);
  }
});

test('hostile platforms in a bundle stay inside their table cells', async (t) => {
  const bundle = join(temp(t), 'hostile.tar');
  const platform = { os: 'linux', architecture: nasty.slice(0, 60) };
  const layers = [layer([{ name: 'a', content: 'a' }])];
  const image = indexOf({
    children: [imageOf({ platform, layers }), imageOf({ platform: 'linux/arm64', layers })],
  });
  await writeBundle(bundle, [{ reference: 'registry.example/acme/x:1', image }]);
  const runs = [
    await airlift(['inspect', bundle]),
    await airlift(['inspect', bundle, '--json']),
    await airlift(['verify', bundle]),
    await airlift(['import', bundle, '--to', 'site.example', '--dry-run']),
    await airlift(['save', bundle, '--format', 'docker-archive', '-o', join(temp(t), 'x.tar')], {
      codes: [2],
    }),
  ];
  runs.forEach(refuteHidden);
  assert.equal(runs[0]?.stdout.split('\n').length, 6);
  const { images } = JSON.parse(runs[1]?.stdout ?? '') as { images: { platforms: { platform: string }[] }[] };
  assert.ok(images[0]?.platforms.some((one) => one.platform === `linux/${platform.architecture}`));
});

test('hostile registry messages and image names are escaped', async (t) => {
  const { host } = await startOddServer(t, (request, response) => {
    if (request.url === '/v2/') response.writeHead(200).end();
    else sendFault(response, 400, nasty, nasty);
  });
  const output = join(temp(t), 'x.tar');
  const quick = ['--retries', '0', '--plain-http'];
  const runs = [
    await airlift(['export', `${host}/acme/x:1`, '-o', output, ...quick], { codes: [1] }),
    await airlift(['export', `${host}/acme/x:1`, '-o', output, ...quick, '--json'], { codes: [1] }),
    await airlift(['export', `${host}/acme/x:1`, `${host}/acme/y:1`, '--dry-run', ...quick], {
      codes: [1, 3],
    }),
    await airlift(['copy', `${host}/acme/x:1`, '--to', host, ...quick], { codes: [1] }),
    await airlift(['verify', join(temp(t), nasty)], { codes: [1] }),
    await airlift(['inspect', nasty], { codes: [1] }),
    await airlift(['export', nasty, '-o', output], { codes: [2] }),
    await airlift(['export', '--images', nasty, '-o', output], { codes: [1, 2] }),
    await airlift(['verify', `--${nasty}`], { codes: [2] }),
    await airlift([nasty], { codes: [2] }),
    await airlift(['save', nasty, '-o', output], { codes: [1, 2] }),
  ];
  runs.forEach(refuteHidden);
  for (const line of runs[1]?.stdout.trim().split('\n') ?? []) JSON.parse(line);
});

test('hostile labels, file names and registries are escaped in reports, signing, volumes, repairs and comparisons', async (t) => {
  const dir = temp(t);
  const { host } = await startOddServer(t, (request, response) => {
    if (request.url === '/v2/') response.writeHead(200).end();
    else sendFault(response, 400, nasty, nasty);
  });
  const bundle = join(dir, `${nasty}.tar`);
  const image = product({ name: 'x', labels: { [nasty]: nasty }, packages: [`${nasty}@${nasty}`] });
  await writeBundle(bundle, [{ reference: 'registry.example/acme/x:1', image }]);
  const damaged = join(dir, `${nasty}damaged.tar`);
  const bytes = readFileSync(bundle);
  const { length } = bytes;
  writeFileSync(damaged, Buffer.concat([bytes.subarray(0, length - 4096), Buffer.alloc(4096, 1)]));
  const key = join(dir, 'k.key');
  await airlift(['keygen', '-o', key, '--unencrypted']);
  const volumes = join(dir, 'volumes/');
  const medium = join(dir, nasty);
  for (const path of [volumes, medium]) mkdirSync(path);
  const quick = ['--retries', '0', '--plain-http'];
  const receipt = join(dir, `${nasty}.receipt`);
  const any = { codes: [0, 1, 2, 3, 4] };
  for (const args of [
    ['sign', bundle, '--key', key],
    ['sign', bundle, '--key', nasty],
    ['verify', bundle, '--key', join(dir, 'k.pub')],
    ['verify', bundle, '--against', host, ...quick],
    ['verify', damaged],
    ['inventory', host, '-o', receipt, ...quick],
    ['stow', bundle, medium],
    ['stow', nasty, medium],
    ['split', bundle, '--volume-size', '65536', '-o', volumes],
    ['split', nasty, '--volume-size', '65536', '-o', volumes],
    ['join', join(volumes, `${nasty}.tar.volumes`), '-o', join(dir, `${nasty}joined.tar`)],
    ['verify', join(volumes, `${nasty}.tar.001`)],
    ['repair', damaged, '--from-registry', host, ...quick],
    ['repair', damaged, '--from', nasty],
  ]) {
    const run = await airlift(args, any);
    refuteHidden(run);
    assert.doesNotMatch(run.stderr, /\n {4}at |bug in airlift/);
  }
  for (const format of ['html', 'json', 'csv', 'cyclonedx']) {
    const output = join(dir, `${nasty}.${format}`);
    const run = await airlift(['report', bundle, '--format', format, '-o', output]);
    // Lines of CSV end with a carriage return (RFC 4180 section 2).
    const text = readFileSync(output, 'utf8').replaceAll('\r\n', '\n');
    refuteHidden({ ...run, stdout: run.stdout + text });
    if (format !== 'csv') assert.match(text, /x\\nhint: curl evil\\(?:x1b|u001b)\[31m\\u202egnp/);
  }
  refuteHidden(await airlift(['report', damaged, '-o', join(dir, 'damaged.html')], { codes: [4] }));
});
