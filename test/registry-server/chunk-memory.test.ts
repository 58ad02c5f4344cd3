import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkMemory, largestChunk, smallestChunk } from '../../src/registry-server/chunk-memory.js';

test('many downloads share the budget: each gets less, and all together little more than the smallest chunks', () => {
  const memory = new ChunkMemory();
  const sizes: number[] = [];
  for (let download = 0; download < 1000; download++) {
    memory.downloads++;
    // Each holds two chunks and gives none back, as with clients that read nothing.
    for (let chunk = 0; chunk < 2; chunk++) sizes.push(memory.take(largestChunk).byteLength);
  }
  assert.equal(sizes[0], largestChunk);
  assert.equal(sizes.at(-1), smallestChunk);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(total <= 32 * 1024 * 1024 + sizes.length * smallestChunk, `${total} bytes`);
});

test('memory is lent again once it was given back, and never while a broken connection may read it', () => {
  const memory = new ChunkMemory();
  memory.downloads = 1;
  const first = memory.take(largestChunk);
  const second = memory.take(largestChunk);
  assert.notEqual(first.buffer, second.buffer);
  memory.give(first);
  memory.abandon(second);
  assert.equal(memory.take(largestChunk).buffer, first.buffer);
  const third = memory.take(largestChunk);
  assert.notEqual(third.buffer, first.buffer);
  assert.notEqual(third.buffer, second.buffer);
});
