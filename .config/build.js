/**
 * Writes the bundled command line, the worker threads, the licences of libraries in them and the list of all dependencies to dist/cli, and
 * what kits are built from to dist/kit. Run it after tsc.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { bundle, commandLine, project, workers } from './bundle.js';
import { kitFiles } from './kit.js';
import { licensesOf } from './licenses.js';
import { sbom } from './sbom.js';

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
const heading = 'The files in this directory contain parts of these libraries:';
files.set('THIRD-PARTY-LICENSES', Buffer.from(licensesOf(inputs, heading)));
files.set('sbom.cdx.json', Buffer.from(sbom()));

/**
 * Makes files the only ones of a directory. Replaces each at once, and only if it changes: a running airlift may load it at any time.
 * @param contents buffers by name
 */
function replaceAll(directory, contents) {
  mkdirSync(directory, { recursive: true });
  const existing = new Set(readdirSync(directory));
  for (const [name, content] of contents) {
    const path = join(directory, name);
    if (existing.has(name) && readFileSync(path).equals(content)) continue;
    writeFileSync(`${path}.new`, content);
    renameSync(`${path}.new`, path);
  }
  for (const name of existing) if (!contents.has(name)) rmSync(join(directory, name));
}

const out = join(project, 'dist', 'cli');
replaceAll(out, files);
// bin/airlift.js compares this time with that of the compiled files.
utimesSync(join(out, basename(commandLine)), new Date(), new Date());
replaceAll(join(project, 'dist', 'kit'), await kitFiles());
