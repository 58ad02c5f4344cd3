import assert from 'node:assert/strict';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';

/** Asserts that work fails with an AirliftError of this code and message, and of this hint if one is given. */
export async function failsWith(
  work: Promise<unknown>,
  code: ErrorCode,
  message: RegExp,
  hint?: RegExp,
): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isAirliftError(error, code), String(error));
    assert.match(error.message, message);
    if (hint !== undefined) assert.match(error.hint ?? '', hint);
    return true;
  });
}
