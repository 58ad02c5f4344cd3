import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isTransient } from '../../../src/registry/http/responses.js';

it('classifies transient statuses', () => {
  for (const status of [408, 429, 500, 502, 503, 504, 520]) assert.equal(isTransient(status), true);
  for (const status of [200, 400, 401, 403, 404, 501, 505]) assert.equal(isTransient(status), false);
});
