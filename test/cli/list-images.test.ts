import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandNames } from '../../src/cli/command-names.js';
import { airlift } from '../support/airlift.js';
import { temp } from '../support/temp.js';

const skip =
  !(commandNames as readonly string[]).includes('list-images') && 'the command is not registered yet';

const rendered = `---
# Source: app/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
        - {name: app, image: ghcr.io/acme/app:2.1}
        - {name: cache, image: redis}
        - {name: proxy}
`;

const sync = `ghcr.io:
  images: {acme/tool: []}
`;

test('a rendered chart on standard input becomes an image list that --images accepts', { skip }, async () => {
  const first = await airlift(['list-images', '-'], { input: rendered });
  assert.equal(first.stdout, 'ghcr.io/acme/app:2.1\ndocker.io/library/redis:latest\n');
  assert.equal(first.stderr, 'standard input:11: container proxy names no image\n');
  const again = await airlift(['list-images', '-'], { input: first.stdout });
  assert.equal(again.stdout, first.stdout);
});

test('--where adds file and line, and patterns are comments', { skip }, async (t) => {
  const dir = temp(t);
  writeFileSync(join(dir, 'k.yaml'), rendered);
  writeFileSync(join(dir, 'sync.yaml'), sync);
  const { stdout } = await airlift(['list-images', '--where', 'k.yaml', 'sync.yaml'], { cwd: dir });
  assert.equal(
    stdout,
    'ghcr.io/acme/app:2.1  # k.yaml:9\n' +
      'docker.io/library/redis:latest  # k.yaml:10\n' +
      '# ghcr.io/acme/tool: tags by all, sync.yaml:2\n',
  );
});

test('--json prints one document and nothing else', { skip }, async (t) => {
  const dir = temp(t);
  writeFileSync(join(dir, 'k.yaml'), rendered);
  writeFileSync(join(dir, 'sync.yaml'), sync);
  const { stdout, stderr } = await airlift(['list-images', '--json', 'k.yaml', 'sync.yaml'], { cwd: dir });
  assert.equal(stderr, '');
  assert.deepEqual(JSON.parse(stdout), {
    lists: [
      { file: 'k.yaml', formats: ['kubernetes'] },
      { file: 'sync.yaml', formats: ['skopeo-sync'] },
    ],
    images: [
      { reference: 'ghcr.io/acme/app:2.1', file: 'k.yaml', line: 9 },
      { reference: 'docker.io/library/redis:latest', file: 'k.yaml', line: 10 },
    ],
    patterns: [{ repository: 'ghcr.io/acme/tool', pattern: 'all', file: 'sync.yaml', line: 2 }],
    notes: [{ file: 'k.yaml', line: 11, message: 'container proxy names no image' }],
  });
});

test('a list with errors ends with exit code 2 and names each error', { skip }, async () => {
  const { stdout, stderr } = await airlift(['list-images', '-'], { input: 'ok:1\nNo:1\na b\n', codes: [2] });
  assert.equal(stdout, '');
  assert.match(stderr, /^read images: 2 problems\n {2}standard input:2: .*\n {2}standard input:3: .*\n$/);
});
