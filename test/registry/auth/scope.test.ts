import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  covers,
  formatScopes,
  mergeScopes,
  parseScopes,
  repositoryScope,
} from '../../../src/registry/auth/scope.js';

it('merges by repository and formats in a stable order', () => {
  const merged = mergeScopes(
    repositoryScope('b', 'push'),
    repositoryScope('a', 'pull'),
    parseScopes('repository:b:pull registry:catalog:*'),
  );
  assert.deepEqual(formatScopes(merged), [
    'registry:catalog:*',
    'repository:a:pull',
    'repository:b:pull,push',
  ]);
});

it('parses names with colons, and skips malformed scopes', () => {
  assert.deepEqual(formatScopes(parseScopes('repository:host:5000/a:pull nonsense a:b  ')), [
    'repository:host:5000/a:pull',
  ]);
});

it('covers by resource and action', () => {
  const have = parseScopes('repository:a:pull,push repository:b:*');
  assert.equal(covers(have, repositoryScope('a', 'pull')), true);
  assert.equal(covers(have, mergeScopes(repositoryScope('a', 'push'), repositoryScope('b', 'pull'))), true);
  assert.equal(covers(have, repositoryScope('c', 'pull')), false);
  assert.equal(covers(repositoryScope('a', 'pull'), repositoryScope('a', 'pull', 'push')), false);
});
