import assert from 'node:assert/strict';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';

/** Asserts that work fails with an AirliftError of this code and message. */
export async function failsWith(work: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isAirliftError(error, code), String(error));
    assert.match(error.message, message);
    return true;
  });
}
