import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { env, filesBeside, startExportSetup } from '../support/exporting.js';
import { singlePlatform } from '../support/image-sets.js';
import { temp } from '../support/temp.js';

const head = 'airlift receipt 1\nregistry: site.example:5000\ntime: 2024-05-06T07:08:09Z\nairlift: 1.0.0\n\n';
const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
const line = `acme/app@${digest} linux/amd64\n`;

test('a malformed or hostile receipt is refused before anything is resolved, with the line and without its control characters', async (t) => {
  const setup = await startExportSetup(t);
  const dir = temp(t);
  const [receipt, output] = [join(dir, 'site.receipt'), join(dir, 'site.tar')];
  for (const [text, problem] of [
    [`${head}${line}acme/app ${digest}\n`, /site\.receipt: line 7 is malformed; got "acme\/app sha256:/],
    [`${head}acme/\u001b[31mapp:1 ${digest} index\n`, /line 6 is malformed; got "acme\/.*31mapp:1 /],
    [`${head}acme/app:1 ${digest} \u0007\n`, /line 6 is malformed/],
    [`${head}../../etc/passwd:1 ${digest} index\n`, /line 6 is malformed/],
    [`${head}acme/app:1 sha256:abc index\n`, /line 6 is malformed/],
    [`${head}acme/app:1 ${digest} index extra\n`, /line 6 is malformed/],
    [`${head}${'a'.repeat(2000)}`, /a line is too long/],
    [`${head}acme/app:1 ${digest} index`, /its last line is cut off/],
    [`${head}${`# ${'x'.repeat(1000)}\n`.repeat(67_000)}`, /too large; want at most 67108864 bytes/],
    [head.replace('receipt 1', 'receipt 2'), /unknown version of the format; got 2, want 1/],
    [head.replace('registry: site.example:5000\n', ''), /its first lines lack the registry or the time/],
    [
      head.replace('site.example:5000', 'site.example:5000/\u001b]0;x\u0007'),
      /its first lines lack|malformed/,
    ],
    [head.replace('2024-05-06T07:08:09Z', 'yesterday'), /its first lines lack the registry or the time/],
    [
      head.replace('receipt', 'sent'),
      /its first lines lack the registry or the time, or one of them is malformed/,
    ],
    ['airlift receipt 1\n', /the file ends in its first lines/],
    ['', /site\.receipt/],
    ['not a receipt\n', /site\.receipt/],
  ] as const) {
    writeFileSync(receipt, text);
    const args = ['export', ...setup.names('app'), '--base', receipt, '-o', output];
    const { stderr } = await airlift(args, { env, codes: [1] });
    assert.match(stderr, problem);

    assert.doesNotMatch(stderr, /[\u0000-\u0009\u000b-\u001f]/);
    assert.ok(!existsSync(output));
    assert.deepEqual(filesBeside(output), []);
  }
  assert.equal(setup.proxy.log.requests.length, 0);
});

test('a receipt that claims thousands of manifests costs a bounded number of requests, and leaves nothing out', async (t) => {
  const setup = await startExportSetup(t);
  await setup.push('app', singlePlatform('linux/amd64', { name: 'app' }));
  const dir = temp(t);
  const want = await setup.undisturbed(...setup.names('app'));
  const claims = Array.from({ length: 2500 }, (_, at) => {
    const hex = at.toString(16).padStart(64, '0');
    return `acme/app@sha256:${hex} linux/amd64\n`;
  });
  const [receipt, output] = [join(dir, 'site.receipt'), join(dir, 'site.tar')];
  writeFileSync(receipt, head + claims.join(''));
  setup.proxy.log.clear();
  const { stderr } = await airlift(['export', ...setup.names('app'), '--base', receipt, '-o', output], {
    env,
  });
  assert.match(
    stderr,
    /fetched 2000 of 2500 manifests that only the site has; layers of the others are included/,
  );
  assert.match(
    stderr,
    /2000 manifests that the site has are no longer in their registries, for example acme\/app@sha256:/,
  );
  assert.ok(setup.proxy.log.requests.length < 4100, String(setup.proxy.log.requests.length));
  const { stdout } = await airlift(['verify', output, '--json']);
  assert.equal((JSON.parse(stdout) as { leftOut: number }).leftOut, 0);
  assert.ok(readFileSync(output).equals(want), 'nothing is left out: the same bytes as without the receipt');
});
