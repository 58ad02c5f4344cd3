import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { projectFile } from '../support/doc-examples.js';

function json<T>(file: string): T {
  return JSON.parse(readFileSync(projectFile(file), 'utf8')) as T;
}

const { dependencies } = json<{ dependencies: Readonly<Record<string, string>> }>('package.json');

test('docs/dependencies.md names every dependency and no other', () => {
  const text = readFileSync(projectFile('docs/dependencies.md'), 'utf8');
  const named = [...text.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name);
  assert.deepEqual(named.sort(), Object.keys(dependencies).sort());
});

test('the SBOM of airlift lists every installed package with the version and digest of the lock file', () => {
  type Component = {
    name: string;
    version: string;
    purl: string;
    hashes: { alg: string; content: string }[];
  };
  const { components } = json<{ components: Component[] }>('dist/cli/sbom.cdx.json');
  for (const [name, version] of Object.entries(dependencies))
    assert.ok(
      components.some((one) => one.name === name && one.version === version),
      name,
    );
  type Locked = { version: string; integrity: string; dev?: boolean };
  const { packages } = json<{ packages: Readonly<Record<string, Locked>> }>('package-lock.json');
  const locked = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true);
  assert.deepEqual(
    components.map(
      ({ version, hashes }) =>
        `${version} sha512-${Buffer.from(hashes[0]?.content ?? '', 'hex').toString('base64')}`,
    ),
    locked.map(([, { version, integrity }]) => `${version} ${integrity}`),
  );
});
