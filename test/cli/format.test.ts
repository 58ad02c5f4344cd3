import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatDuration, formatTable, printable } from '../../src/cli/format.js';

test('bytes are formatted in powers of 1000', () => {
  const pairs: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [9949, '9.9 kB'],
    [12_345, '12 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [1_900_000_000, '1.9 GB'],
    [5e15, '5000 TB'],
  ];
  for (const [bytes, text] of pairs) assert.equal(formatBytes(bytes), text);
});

test('durations are formatted in seconds, minutes and hours', () => {
  assert.equal(formatDuration(3400), '3.4 s');
  assert.equal(formatDuration(125_000), '2 min 05 s');
  assert.equal(formatDuration(59_990), '1 min 00 s');
  assert.equal(formatDuration(3_720_000), '1 h 02 min');
});

test('table columns are padded, numbers aligned to the right', () => {
  assert.equal(
    formatTable(
      ['image', 'size'],
      [
        ['a', '1 B'],
        ['bcd', '12 kB'],
      ],
      [1],
    ),
    'image   size\na        1 B\nbcd    12 kB',
  );
});

test('control characters never reach the terminal', () => {
  assert.equal(printable('a\u001b[2Jb\u0007\u009b1m'), 'a\\x1b[2Jb\\x07\\x9b1m');
});
