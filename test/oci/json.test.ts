import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { documentLimits, listLimits, parseJson } from '../../src/oci/json.js';
import { maxDescriptors, parseManifest } from '../../src/oci/manifest.js';
import { ociIndex } from '../../src/oci/media-types.js';
import { testDigest } from '../support/content.js';

const moduleUrl = new URL('../../src/oci/json.js', import.meta.url).href;

function refused(source: string, pattern: RegExp, limits = documentLimits): void {
  assert.throws(
    () => parseJson(Buffer.from(source), 'doc', limits),
    (error) => {
      assert.ok(isAirliftError(error, 'input'), String(error));
      assert.match(error.message, pattern);
      return true;
    },
  );
}

test('JSON from outside is parsed within bounds on bytes, values and depth', () => {
  const deep = (n: number): string => '['.repeat(n) + ']'.repeat(n);
  assert.deepEqual(parseJson(Buffer.from(' {"a":[1,"\\\\\\"[[[{,:"]}'), 'doc'), { a: [1, '\\"[[[{,:'] });
  assert.ok(parseJson(deep(documentLimits.depth), 'doc'));
  refused(deep(documentLimits.depth + 1), /parse doc: nested too deep; want at most 64 levels/);
  refused('['.repeat(5_000_000), /nested too deep/);
  refused(`[${'{},'.repeat(documentLimits.values)}{}]`, /too many values; want at most 250000/);
  refused(`{"a":"${'x'.repeat(documentLimits.bytes)}"}`, /too large; got \d+ bytes, want at most/);
  refused('{"a":"', /not JSON/);
  refused('"\\', /not JSON/);
  // What stands in strings is no value.
  assert.ok(parseJson(JSON.stringify({ text: '[{,:'.repeat(1_000_000) }), 'doc'));
});

test('an index of 10,000 children is refused at once, by their number', () => {
  const child = { mediaType: ociIndex, digest: testDigest(Buffer.from('x')), size: 1 };
  const index = { schemaVersion: 2, mediaType: ociIndex, manifests: Array<unknown>(10_000).fill(child) };
  const started = performance.now();
  assert.throws(
    () => parseManifest(Buffer.from(JSON.stringify(index)), ociIndex, 'doc'),
    /too many entries; got 10000, want at most 8192/,
  );
  assert.ok(performance.now() - started < 5000);
  const most = { ...index, manifests: index.manifests.slice(0, maxDescriptors) };
  assert.equal(parseManifest(Buffer.from(JSON.stringify(most)), ociIndex, 'doc').kind, 'index');
});

test('annotations are bounded in number', () => {
  const annotations = Object.fromEntries(Array.from({ length: 1025 }, (_, at) => [`k${at}`, 'v']));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [], annotations }));
  assert.throws(
    () => parseManifest(bytes, ociIndex, 'doc'),
    /too many annotations; got 1025, want at most 1024/,
  );
});

test('the worst documents of 32 MiB take less than 500 MiB', () => {
  const worst = {
    objects: `'[' + Array(${listLimits.values / 2 - 10}).fill('{}').join(',') + ']'`,
    keys: `'{' + Array.from({ length: ${listLimits.values / 2 - 10} }, (_, i) => '"k' + i + '":' + i).join(',') + '}'`,
    more: `'[' + '{},'.repeat(11_000_000) + '{}]'`,
  };
  for (const [name, expression] of Object.entries(worst)) {
    const script = `
      const { parseJson, listLimits } = await import(${JSON.stringify(moduleUrl)});
      try { parseJson(Buffer.from(${expression}), 'doc', listLimits); } catch (error) { if (error.code !== 'input') throw error; }
      console.log(process.resourceUsage().maxRSS);`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    assert.ok(Number(stdout) > 0, stderr);
    assert.ok(Number(stdout) < 500 * 1024, `${name}: ${stdout} KiB`);
  }
});
