import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

// The project directory, relative to dist/test/docs.
const project = fileURLToPath(new URL('../../../', import.meta.url));

/** Returns the files that a page names in backticks, and those of its traces, which are relative to `src/`. */
function pathsIn(page: string): string[] {
  const text = readFileSync(join(project, page), 'utf8');
  const named = [...text.matchAll(/`((?:src|test|bin|docs|\.ci)\/[\w./-]+)`/g)].map(([, path = '']) => path);
  const traced = [...text.matchAll(/(?<=^ {4}.*)[\w-]+(?:\/[\w-]+)+\.ts/gm)].map(([path]) => `src/${path}`);
  return [...named, ...traced];
}

test('every file that the pages for contributors name exists', () => {
  const pages = ['docs/architecture.md', 'docs/contributing.md'];
  const paths = pages.flatMap((page) => pathsIn(page).map((path) => ({ page, path })));
  assert.ok(paths.length > 100, `${paths.length} paths`);
  const missing = paths.filter(({ path }) => !path.includes('NAME') && !existsSync(join(project, path)));
  assert.deepEqual(missing, []);
});
