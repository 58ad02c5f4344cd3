import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ioError } from '../../../src/bundle/format/io-error.js';

function systemError(code: string, text: string): Error {
  return Object.assign(new Error(`${code}: ${text}, ftruncate`), { code });
}

test('a file that is too large for its filesystem is no-space, as a full disk and a full quota are', () => {
  for (const [code, text, message] of [
    ['ENOSPC', 'no space left on device', 'no space left on the device (ENOSPC)'],
    ['EDQUOT', 'disk quota exceeded', 'no space left on the device (EDQUOT)'],
    ['EFBIG', 'file too large', 'file too large (EFBIG)'],
  ] as const) {
    const error = ioError('write a.tar', systemError(code, text));
    assert.equal(error.code, 'no-space');
    assert.equal(error.message, `write a.tar: ${message}`);
  }
  assert.match(ioError('write a.tar', systemError('EFBIG', 'file too large')).hint ?? '', /FAT32/);
  const denied = ioError('open a.tar', systemError('EACCES', 'permission denied'));
  assert.deepEqual([denied.code, denied.message], ['io', 'open a.tar: permission denied (EACCES)']);
});
