import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawBars } from '../../src/cli/bars.js';
import { Meter } from '../../src/cli/meter.js';
import { digestOf } from '../../src/oci/digest.js';

const [a, b, c] = ['a', 'b', 'c'].map((text) => digestOf(Buffer.from(text))) as [
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
];
const MB = 1_000_000;

test('bytes from an earlier run or already at the site count as done, but not in the rate', () => {
  let now = 0;
  const meter = new Meter(() => now);
  meter.take({ event: 'planned', images: 1, signatures: 0, blobs: 3, bytes: 60 * MB, resumedBytes: 40 * MB });
  meter.take({ event: 'blob', digest: a, size: 50 * MB, bytes: 40 * MB });
  meter.take({ event: 'blob-done', digest: b, size: 30 * MB, how: 'existed' });
  assert.equal(meter.bytes, 70 * MB);
  assert.equal(meter.rate, 0);
  now = 1000;
  meter.take({ event: 'blob', digest: a, size: 50 * MB, bytes: 10 * MB });
  meter.take({ event: 'blob', digest: a, size: 50 * MB, bytes: 45 * MB });
  assert.equal(meter.toString(), '75 MB of 100 MB, 5.0 MB/s, 5.0 s left');
  now = 2000;
  meter.take({ event: 'blob-done', digest: a, size: 50 * MB, how: 'downloaded' });
  meter.take({ event: 'blob', digest: c, size: 20 * MB, bytes: 0 });
  meter.take({ event: 'blob-done', digest: c, size: 20 * MB, how: 'downloaded' });
  meter.take({ event: 'blob-done', digest: c, size: 20 * MB, how: 'mounted' });
  assert.equal(meter.bytes, 100 * MB);
  assert.equal(meter.moved, 30 * MB);
  assert.equal(meter.toString(), '100 MB of 100 MB, 15 MB/s');
});

test('the total is marked as an estimate until all images are planned', () => {
  const meter = new Meter(() => 0);
  assert.equal(meter.total, undefined);
  meter.take({ event: 'image-planned', image: 'a', images: 4, bytes: 10 * MB });
  assert.deepEqual(meter.total, { bytes: 40 * MB, isExact: false });
  assert.match(meter.toString(), /of ~40 MB/);
  for (const image of ['b', 'c', 'd'])
    meter.take({ event: 'image-planned', image, images: 4, bytes: 2 * MB });
  assert.deepEqual(meter.total, { bytes: 16 * MB, isExact: true });
});

test('the rate covers the last seconds', () => {
  let now = 0;
  const meter = new Meter(() => now);
  for (let second = 0; second <= 100; second++) {
    now = second * 1000;
    meter.take({ event: 'blob', digest: a, size: 1000 * MB, bytes: Math.max(0, second - 80) * 10 * MB });
  }
  assert.ok(meter.rate > 9.9 * MB && meter.rate <= 10 * MB, `${meter.rate}`);
});

test('bars fit into any terminal width; figures are dropped last', () => {
  const bars = [
    { label: '3/12 images', part: 0.5, figures: '1.2 GB of ~1.9 GB, 540 MB/s, 1 h 03 min left' },
    {
      label: 'rancher/mirrored-longhornio-csi-node-driver-registrar 0123abcd',
      part: 0.25,
      figures: '1 MB of 4 MB',
    },
  ];
  for (const columns of [1, 10, 24, 40, 50, 79, 80, 120, 300])
    for (const line of drawBars(bars, columns))
      assert.ok(line.length < Math.max(columns, 11), `${columns}: ${line}`);
  for (const columns of [80, 120]) {
    const [total = '', blob = ''] = drawBars(bars, columns);
    assert.match(total, /^.*\[█+░+\] 1\.2 GB of ~1\.9 GB, 540 MB\/s, 1 h 03 min left$/);
    assert.match(blob, /0123abcd \[█+░+\] +1 MB of 4 MB$/);
  }
  assert.deepEqual(drawBars([], 80), []);
});
