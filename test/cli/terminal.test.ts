import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startFaultProxy } from '../support/faults.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { Screen } from '../support/screen.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { onTerminal } from '../support/terminal.js';

const names = [1, 2, 3].map((n) => `rancher/mirrored-a-rather-long-name-of-an-image-${n}`);
const missing = [1, 2].map((n) => `rancher/not-there-and-a-rather-long-name-of-an-image-${n}:v1.2.3`);

/** A registry with images of three long names that responds slowly, so that a progress bar is drawn. */
async function slowRegistry(t: TestContext): Promise<{ host: string; digests: string[] }> {
  const upstream = await serveStore(t);
  const images = names.map((name) =>
    multiPlatform({ name, platforms: ['linux/amd64', 'linux/arm64'], bigBytes: 400_000 }),
  );
  for (const [at, image] of images.entries()) await pushImage(upstream, names[at] ?? '', 'v1', image);
  const proxy = await startFaultProxy({
    upstream: `http://${upstream}`,
    rules: [{ path: /\/blobs\/sha256/, method: 'GET', fault: { do: 'slow', bytes: 40_000, every: 100 } }],
  });
  t.after(() => proxy.stop());
  return { host: proxy.host, digests: images.map(({ root }) => root.digest) };
}

function assertClean(screen: Screen): void {
  assert.deepEqual(screen.unknown, []);
  assert.doesNotMatch(screen.text, /[█░]/, 'no bar is left at the end');
}

describe('on a terminal', { skip: needs('python3') }, () => {
  for (const columns of [80, 50, 24]) {
    test(`of ${columns} columns, copy prints each failure and result in full, outside the bars`, async (t) => {
      const { host, digests } = await slowRegistry(t);
      const site = await serveStore(t);
      const references = [...names.map((name) => `${name}:v1`), ...missing].map((name) => `${host}/${name}`);
      const terminal = onTerminal(['copy', '-k', ...references, '--to', site], { columns });
      const { code, shown } = await terminal.ended;
      assert.equal(code, 3, shown);
      assert.match(shown, /[█░]{3}|MB of/u, 'bars were drawn');
      const screen = new Screen(columns, shown);
      assertClean(screen);
      const summary = screen.text.slice(screen.text.indexOf('published: '));
      for (const [at, name] of names.entries())
        assert.ok(summary.includes(`published: ${site}/${name}:v1 ${digests[at]}\n`), summary);
      for (const name of missing) assert.match(summary, new RegExp(`failed: .*${host}/${name}`));
      for (const frame of shown.split('\u001b[J'))
        for (const line of frame.split('\r\n'))
          if (/[█░]/.test(line)) assert.ok(line.length < columns, `a bar fits: ${line}`);
    });
  }

  test('the bars of an import show total, rate, remaining time, and names with digests', async (t) => {
    const { host } = await slowRegistry(t);
    const bundle = join(temp(t), 'site.tar');
    await airlift(['export', ...names.map((name) => `${host}/${name}:v1`), '-o', bundle]);
    const proxy = await startFaultProxy({
      upstream: `http://${await serveStore(t)}`,
      rules: [
        // One upload stalls until it is retried: long enough to draw a bar.
        {
          method: /PUT|PATCH/,
          path: /\/blobs\/uploads/,
          over: 100_000,
          times: 1,
          fault: { do: 'stall', in: 'request', after: 50_000 },
        },
      ],
    });
    t.after(() => proxy.stop());
    const { code, shown } = await onTerminal([
      ...['import', bundle, '--to', proxy.host, '--idle-timeout', '2s', '--retry-delay', '10ms'],
    ]).ended;
    assert.equal(code, 0, shown);
    assert.match(shown, /\d [kM]?B of \d\S* MB, \S+ [kM]?B\/s/);
    assert.match(shown, /an-image-\d [0-9a-f]{8} +\[/);
    assertClean(new Screen(80, shown));
  });

  test('Ctrl-C removes the bars, and messages have lines of their own', async (t) => {
    const { host } = await slowRegistry(t);
    const references = names.map((name) => `${host}/${name}:v1`);
    const terminal = onTerminal(['export', ...references, '-o', join(temp(t), 'site.tar')]);
    await terminal.until(/[█░]{3}/u);
    terminal.type('\u0003');
    const { code, shown } = await terminal.ended;
    assert.equal(code, 130);
    const screen = new Screen(80, shown);
    assertClean(screen);
    assert.match(screen.text, /^(\^C)?stopping/m);
    assert.match(screen.text, /^export to .*: interrupted/m);
    assert.ok(
      shown.endsWith('\u001b[?25h') || shown.lastIndexOf('\u001b[?25h') > shown.lastIndexOf('\u001b[?25l'),
    );
  });
});

for (const mode of [[], ['-q'], ['--json']]) {
  test(`the summary names each failed image: ${mode[0] ?? 'plain'}`, async (t) => {
    const host = await serveStore(t);
    const out = join(temp(t), 'site.tar');
    const references = missing.map((name) => `${host}/${name}`);
    for (const args of [
      ['export', ...references, '-o', out],
      ['export', '-k', ...references, '-o', out],
      ['copy', ...references, '--to', `${host}/copy`],
      ['export', '--dry-run', ...references],
    ]) {
      const { stderr } = await airlift([...args, ...mode], { codes: [1] });
      const last = stderr.slice(stderr.lastIndexOf('images failed'));
      for (const name of references) assert.ok(last.includes(name), `${args.join(' ')}: ${stderr}`);
      assert.doesNotMatch(stderr, /named above/);
    }
  });
}
