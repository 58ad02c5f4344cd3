import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chart } from './chart.js';
import { conclusion, report, summary } from './report.js';
import { mergeResults } from './results-file.js';
import { ratio, verdicts, type ContenderResult, type RowResult } from './results.js';

function contender(
  tool: string,
  kind: ContenderResult['kind'],
  walls: readonly number[],
  title = `${tool} 1.0`,
): ContenderResult {
  const runs = walls.map((wall) => ({ wall, user: wall / 2, cpu: wall * 2, memory: 100 }));
  return { tool, kind, title, does: `\`${tool} & co\``, runs };
}

const row: RowResult = {
  name: 'export',
  title: 'Export <to> one & only file',
  work: 'Eight images.',
  contenders: [
    contender('airlift', 'airlift', [9, 4, 3]),
    contender('oras', 'peer', [8, 8, 8], 'oras 1.2'),
    contender('oras', 'peer', [5, 5, 90], 'oras 1.3'),
    contender('bare loop', 'floor', [2], 'bare loop'),
  ],
  goals: [
    { figure: 'wall', limit: 0.8, of: 'oras' },
    { figure: 'wall', limit: 1.5, of: 'bare loop' },
    { figure: 'memory', limit: 150 },
    { figure: 'wall', limit: 0.1, of: 'crane' },
  ],
};

test('figures are medians, and a goal refers to the fastest version of a tool', () => {
  assert.deepEqual(
    verdicts(row).map(({ of, value, isReached }) => [of, value, isReached]),
    [
      ['oras 1.3', 0.8, true],
      ['bare loop', 2, false],
      [undefined, 100, true],
    ],
  );
});

test('the conclusion says who is ahead, and which goals are missed', () => {
  assert.equal(
    conclusion(row),
    'airlift is ahead: 0.80 × the time of oras 1.3, the fastest other tool. ' +
      'airlift takes 2.00 × the time of the floor, bare loop. ' +
      'Goals: time ≤ 0.8 × oras 1.3: reached (0.80); time ≤ 1.5 × bare loop: **missed** (2.00); peak memory ≤ 150 MiB: reached (100 MiB).',
  );
  const slow = { ...row, contenders: [contender('airlift', 'airlift', [9]), ...row.contenders.slice(1, 2)] };
  assert.match(conclusion(slow), /^\*\*airlift is behind\*\*: 1\.13 × the time of oras 1\.2/);
});

test('a ratio divides medians', () => {
  const [, , oras] = row.contenders;
  assert.ok(oras !== undefined);
  assert.equal(ratio(row, oras, 'cpu'), 8 / 10);
});

test('the report has ratios before seconds', () => {
  assert.deepEqual(
    summary([row])
      .at(-1)
      ?.split('|')
      .map((cell) => cell.trim())
      .slice(2, -1),
    [...['0.80', '2.00', '4.00', '5.00', '2.00']],
  );
  const text = report('A machine.', 'chart.svg', [row]);
  assert.match(text, /^A machine\.\n\n!\[[^\]]+\]\(chart\.svg\)\n/);
  assert.match(
    text,
    /\| oras 1\.3 +\| +0\.80 \| +0\.80 \| +5\.00 \| +5\.00 – 90\.0 \| +10\.0 \| +2\.50 \| +100 \|/,
  );
  assert.match(text, /\nMedians of 3 rounds\./);
});

test('a partial run replaces its rows, if the conditions are the same', () => {
  const other = { ...row, name: 'import' };
  const faster = { ...row, contenders: [contender('airlift', 'airlift', [1])] };
  const earlier = { conditions: 'quiet', rows: [row, other] };
  assert.deepEqual(mergeResults(earlier, { conditions: 'quiet', rows: [faster] }, false).rows, [
    faster,
    other,
  ]);
  assert.deepEqual(mergeResults(earlier, { conditions: 'loud', rows: [faster] }, true).rows, [faster]);
  assert.throws(
    () => mergeResults(earlier, { conditions: 'loud', rows: [faster] }, false),
    /other conditions/,
  );
});

/** Parses XML without comments and sections; throws if it is not well-formed. Returns the names of the elements. */
function elements(xml: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  const token = /<(\/?)([a-z]+)((?: [a-zA-Z-]+="[^"<&]*")*)(\/?)>|((?:[^<&>]|&(?:amp|lt|gt|quot);)+)/y;
  while (token.lastIndex < xml.length) {
    const at = token.lastIndex;
    const found = token.exec(xml);
    assert.ok(found, `not well-formed at ${at}: ${xml.slice(at, at + 60)}`);
    const [, isEnd, name, , isEmpty] = found;
    if (name === undefined) continue;
    if (isEnd !== '') assert.equal(open.pop(), name);
    else {
      names.push(name);
      if (isEmpty === '') open.push(name);
    }
  }
  assert.deepEqual(open, []);
  return names;
}

test('the chart is well-formed XML with a bar for each contender', () => {
  const single = { ...row, name: 'single', contenders: row.contenders.slice(0, 1) };
  const svg = chart([row, single]);
  const names = elements(svg);
  assert.equal(names[0], 'svg');
  // The background, the legend, and the bars of the one row with several contenders.
  assert.equal(names.filter((name) => name === 'rect').length, 1 + 3 + 4);
  assert.match(svg, />Export &lt;to&gt; one &amp; only file</);
  const lengths = [...svg.matchAll(/<rect x="190" y="\d+" width="([\d.]+)"/g)].map(([, length]) =>
    Number(length),
  );
  assert.deepEqual(lengths.slice(1), [260, 520, 325, 130]);
});
