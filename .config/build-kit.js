/** Writes to dist/kit what kits are built from. Run it after tsc. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { project } from './bundle.js';
import { bundleKit } from './kit.js';
import { licensesOf } from './licenses.js';

const out = join(project, 'dist', 'kit');
const { contents, inputs } = await bundleKit();
const read = (...path) => readFileSync(join(project, ...path), 'utf8');
const libraries = licensesOf(inputs).replace(/^.*\n/, 'airlift contains parts of these libraries:\n');
contents.set('licenses.txt', `${read('LICENSE').trim()}\n\n${'-'.repeat(80)}\n${libraries}`);
for (const name of ['launcher.sh', 'README-FIRST.txt']) contents.set(name, read('src', 'kit', name));
// The SQLite of Node.js 24 prints that it is experimental.
contents.set('node-options.txt', '--disable-warning=ExperimentalWarning\n');
contents.set('version.txt', `${JSON.parse(read('package.json')).version}\n`);
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const [name, content] of contents) writeFileSync(join(out, name), content);
