import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { temp } from '../support/temp.js';

test('a usage error ends with exit code 2, explains the problem and writes no files', async (t) => {
  const dir = temp(t);
  const output = join(dir, 'site.tar');
  const calls: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /want a command/],
    [['exprot'], /export|Unknown/i],
    [['export', 'redis'], /output/],
    [['export', '-o', output], /no images/],
    [['export', 'Redis', '-o', output], /not a repository path/],
    [['export', 'redis', '--platform', 'linux/arm/v7/x', '-o', output], /parse platform/],
    [['export', 'redis', '--platfrom', 'linux/amd64', '-o', output], /platfrom/],
    [['export', 'redis', '-j', '0', '-o', output], /--concurrency/],
    [['import', 'site.tar'], /to/],
    [['import', 'site.tar', '--to', 'http://127.0.0.1:5000'], /scheme/],
    [['import', 'site.tar', '--to', '127.0.0.1:5000/Team'], /is not a repository path/],
    [['import', 'site.tar', '--to', '127.0.0.1:5000', '--on-existing-tag', 'ask'], /on-existing-tag/],
  ];
  for (const [args, message] of calls) {
    const { stderr } = await airlift(args, { codes: [2] });
    assert.match(stderr, message, args.join(' '));
  }
  assert.deepEqual(readdirSync(dir), []);
});

test('help texts are English in every locale', async () => {
  const { stdout } = await airlift(['--help'], { env: { LC_ALL: 'de_DE.UTF-8' } });
  assert.match(stdout, /^Options:$/m);
});

test('all bad lines of all lists are reported together, with file and line, before any request', async (t) => {
  const dir = temp(t);
  const list = join(dir, 'list.txt');
  writeFileSync(list, '# images\r\nredis:7\r\n\r\nNope\r\nghcr.io/acme/api@sha256:12\r\n');
  const { stderr } = await airlift(
    ['export', '--images', list, '--images', '-', '-o', join(dir, 'site.tar')],
    {
      codes: [2],
      input: 'ok:1\nbad:\n',
    },
  );
  assert.match(stderr, /list\.txt:4/);
  assert.match(stderr, /list\.txt:5/);
  assert.match(stderr, /standard input:2/);
  assert.deepEqual(readdirSync(dir), ['list.txt']);
});

test('the last value of a repeated flag wins, and array flags are merged', async (t) => {
  const dir = temp(t);
  const list = join(dir, 'list.txt');
  writeFileSync(list, '127.0.0.1:1/a:1\n');
  const { stderr } = await airlift(
    [
      ...[
        'export',
        '127.0.0.1:1/b:1',
        '--images',
        list,
        '--images',
        list,
        '-o',
        'never.tar',
        '-o',
        join(dir, 'a.tar'),
      ],
      ...['-j', '2', '-j', '1', '--idle-timeout', '5s', '--idle-timeout', 'soon'],
    ],
    { codes: [2], cwd: dir },
  );
  assert.match(stderr, /--idle-timeout: not a duration; got "soon"/);
  assert.deepEqual(readdirSync(dir), ['list.txt']);
});

test('errors with --json are one JSON line', async () => {
  const { stdout } = await airlift(['export', 'Redis', '-o', 'x.tar', '--json'], { codes: [2] });
  const error = JSON.parse(stdout) as { event: string; code: string; message: string };
  assert.deepEqual([error.event, error.code], ['error', 'usage']);
});

test('--version prints the version', async () => {
  const { stdout } = await airlift(['--version']);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});
