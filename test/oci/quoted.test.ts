import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quoted, withoutSecrets } from '../../src/oci/quoted.js';

test('user names, passwords and queries of addresses are left out, names are not', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  for (const [text, shown] of [
    ['https://me:pw@host.test/x:1', 'https://***@host.test/x:1'],
    ['https://me:p@w/d@host.test/x:1', 'https://***@host.test/x:1'],
    ['https://token@host.test', 'https://***@host.test'],
    ['me:pw@host.test:5000/x', '***@host.test:5000/x'],
    ['docker.io=https://me:p=w@mirror.test', 'docker.io=https://***@mirror.test'],
    ['docker.io=me:p=w@mirror.test', '***@mirror.test'],
    ['host.test/x:1?sig=abc', 'host.test/x:1?***'],
    [`host.test:5000/x:1@${digest}`, `host.test:5000/x:1@${digest}`],
    [`https://me:pw@host.test/x@${digest}`, `https://***@host.test/x@${digest}`],
    [`busybox:1@${digest}`, `busybox:1@${digest}`],
    ['host.test:5000/acme/api@v1', 'host.test:5000/acme/api@v1'],
    ['', ''],
  ] as const)
    assert.equal(withoutSecrets(text), shown);
  assert.equal(quoted('a"b', 3), '"a\\"b"');
  assert.equal(quoted('x'.repeat(400)).length, 302);
});
