import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAirliftError, messageOf } from '../src/errors.js';
import { BundleReader } from '../src/bundle/reader.js';
import { temp } from './support/temp.js';

test('the message of a system error has its text and code, and not the path a second time', async (t) => {
  const missing = join(temp(t), 'missing, file.tar');
  const error = await readFile(missing).catch((cause: unknown) => cause);
  assert.equal(messageOf(error), 'no such file or directory (ENOENT)');
  assert.equal(
    messageOf(new Error('ENOENT: no such file or directory, open it')),
    'ENOENT: no such file or directory, open it',
  );
  assert.equal(messageOf(new Error('connect ECONNREFUSED 127.0.0.1:1')), 'connect ECONNREFUSED 127.0.0.1:1');
  assert.equal(messageOf('text'), 'text');
});

test('a missing bundle is reported without the advice to create its directory', async (t) => {
  const path = join(temp(t), 'missing.tar');
  await assert.rejects(BundleReader.open(path), (error) => {
    assert.ok(isAirliftError(error, 'io'));
    assert.equal(error.message, `open ${path}: no such file or directory (ENOENT)`);
    assert.equal(error.hint, 'check the path');
    return true;
  });
});
