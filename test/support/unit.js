// Runs tests that are built already: `node test/support/unit.js [--fast] [FILE…]`. Default: all of them.
// FILE is a test as it is written (test/oci/digest.test.ts) or as it is built. --fast leaves out files that start other programs.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const millisecondsAFile = 600_000;

/** What a test file imports that starts processes: airlift itself, a registry or another program. */
const starts =
  /from '(?:node:child_process|[^']*\/(?:airlift|started|daemon|peers|docker-registry|docker|containerd|podman|saving|server-process|resumed|refreshed|[a-z]+-round|rounds)\.js)'/;

function allTests() {
  return readdirSync(join(project, 'test'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => relative(project, join(entry.parentPath, entry.name)))
    .sort();
}

/** The built file of a test. */
function built(file) {
  const path = relative(project, join(process.cwd(), file));
  const js = path.startsWith('dist/') ? path : join('dist', path.replace(/\.ts$/, '.js'));
  if (existsSync(join(project, js))) return js;
  console.error(
    `${file}: no such test; want a file such as test/oci/digest.test.ts, built with npm run build`,
  );
  return process.exit(2);
}

const words = process.argv.slice(2);
const flags = words.filter((word) => word.startsWith('--'));
const named = words.filter((word) => !word.startsWith('--'));
let files = named.length > 0 ? named.map(built) : undefined;
files ??= allTests()
  .filter((file) => !flags.includes('--fast') || !starts.test(readFileSync(join(project, file), 'utf8')))
  .map((file) => join('dist', file.replace(/\.ts$/, '.js')));

const run = spawn(
  process.execPath,
  [
    '--test',
    '--test-concurrency=2',
    `--test-timeout=${millisecondsAFile}`,
    ...flags.filter((flag) => flag !== '--fast'),
    ...files,
  ],
  { cwd: project, stdio: 'inherit' },
);
run.on('exit', (code) => process.exit(code ?? 1));
