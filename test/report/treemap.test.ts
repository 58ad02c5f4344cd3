import assert from 'node:assert/strict';
import { test } from 'node:test';
import { treemap } from '../../src/report/treemap.js';

test('tiles fill the drawing without overlap, and their areas are proportional to the values', () => {
  for (const values of [
    [1],
    [5, 3, 2],
    [100, 1, 1, 1, 1],
    Array.from({ length: 122 }, (_, at) => 500 - at),
  ]) {
    const tiles = treemap(values, 1200, 480);
    const total = values.reduce((sum, value) => sum + value, 0);
    assert.equal(tiles.length, values.length);
    for (const [at, { x, y, width, height }] of tiles.entries()) {
      assert.ok(Math.abs(width * height - ((values[at] ?? 0) / total) * 1200 * 480) < 0.01);
      assert.ok(x >= 0 && y >= 0 && x + width < 1200.001 && y + height < 480.001);
      for (const other of tiles.slice(at + 1)) {
        const wide = Math.min(x + width, other.x + other.width) - Math.max(x, other.x);
        const high = Math.min(y + height, other.y + other.height) - Math.max(y, other.y);
        assert.ok(wide < 0.001 || high < 0.001, `${at} overlaps`);
      }
    }
  }
});
