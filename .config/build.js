/** Writes the bundled command line, the worker threads and the licences of libraries in them to dist/cli. Run it after tsc. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { bundle, commandLine, project, workers } from './bundle.js';
import { licensesOf } from './licenses.js';

const out = join(project, 'dist', 'cli');
// A worker is a file of its own, which holds only what it runs.
const results = await Promise.all([bundle([commandLine], { splitting: true }), bundle(workers())]);
const files = new Map(
  results
    .flatMap(({ outputFiles }) => outputFiles)
    // Files with a hash in their name first: the others import them.
    .sort((left, right) => Number(/-\w{8}\.js$/.test(right.path)) - Number(/-\w{8}\.js$/.test(left.path)))
    .map(({ path, contents }) => [basename(path), Buffer.from(contents)]),
);
const inputs = results.flatMap(({ metafile }) => Object.keys(metafile.inputs));
files.set('THIRD-PARTY-LICENSES', Buffer.from(licensesOf(inputs)));

/** Replaces a file at once, and only if it changes: a running airlift may load it at any time. */
function replace(name, content) {
  const path = join(out, name);
  if (existing.has(name) && readFileSync(path).equals(content)) return;
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

mkdirSync(out, { recursive: true });
const existing = new Set(readdirSync(out));
for (const [name, content] of files) replace(name, content);
for (const name of existing) if (!files.has(name)) rmSync(join(out, name));
// bin/airlift.js compares this time with that of the compiled files.
utimesSync(join(out, basename(commandLine)), new Date(), new Date());

// The same sources, for kits.
await import('./build-kit.js');
