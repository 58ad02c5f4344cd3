// Runs compiled tests: `node test/support/unit.js [--fast] [--test-name-pattern=PATTERN] [FILE…]`. Default: all tests.
// FILE is the source of a test (test/oci/digest.test.ts) or its compiled file. --fast skips files that start other programs.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { run } from 'node:test';
import { spec, tap } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';

const project = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const millisecondsPerFile = 600_000;
/** One file more than there are cores: tests wait for processes and sockets, too. */
const filesAtOnce = availableParallelism() + 1;

/** The slowest files. They start first, so that the last one does not run alone. */
const longest = [
  'test/cli/lost-output.test.ts',
  'test/export/resume.test.ts',
  'test/registry-quirks.test.ts',
  'test/import/resume.test.ts',
  'test/torture/torture.test.ts',
  'test/mirror-faults.test.ts',
  'test/cli/wrong-values.test.ts',
  'test/export/refresh.test.ts',
  'test/export/keep-going.test.ts',
  'test/cli/content-labels.test.ts',
  'test/bundle/write/resume.test.ts',
  'test/cli/faults.test.ts',
  'test/export-import.test.ts',
  'test/docs/examples.test.ts',
  'test/import/real-archives.test.ts',
  'test/archive/compression/decompress.test.ts',
];
const missing = longest.filter((file) => !existsSync(join(project, file)));
if (missing.length > 0)
  throw new Error(`test/support/unit.js lists files that do not exist: ${missing.join(', ')}`);

/** Matches imports of modules that start processes: airlift, a registry or another program. */
const startsProcesses =
  /from '(?:node:child_process|[^']*\/(?:airlift|started|daemon|peers|docker-registry|docker|containerd|podman|saving|server-process|resumed|refreshed|[a-z]+-round|rounds)\.js)'/;

function allTests() {
  return readdirSync(join(project, 'test'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => relative(project, join(entry.parentPath, entry.name)))
    .sort((left, right) => rankOf(left) - rankOf(right) || (left < right ? -1 : 1));
}

function rankOf(file) {
  const at = longest.indexOf(file);
  return at === -1 ? longest.length : at;
}

/** Returns the compiled file of a test. */
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
  .filter(
    (file) => !flags.includes('--fast') || !startsProcesses.test(readFileSync(join(project, file), 'utf8')),
  )
  .map((file) => join('dist', file.replace(/\.ts$/, '.js')));

const pattern = '--test-name-pattern=';
const unknown = flags.filter((flag) => flag !== '--fast' && !flag.startsWith(pattern));
if (unknown.length > 0) {
  console.error(`${unknown.join(' ')}: unknown flag; want --fast or ${pattern}PATTERN`);
  process.exit(2);
}
const patterns = flags.filter((flag) => flag.startsWith(pattern)).map((flag) => flag.slice(pattern.length));

// Tests and the programs that they start use paths relative to the project.
process.chdir(project);
// `node --test` would sort the files by name.
const events = run({
  files: files.map((file) => join(project, file)),
  concurrency: filesAtOnce,
  timeout: millisecondsPerFile,
  ...(patterns.length > 0 ? { testNamePatterns: patterns } : {}),
});

/** What failed, for the end of the output: a long output is often kept only in part. */
const failures = [];
events.on('test:fail', ({ name, file, details }) => {
  process.exitCode = 1;
  const { error } = details;
  if (error.failureType === 'subtestsFailed') return;
  const { stack, message } = error.cause ?? error;
  failures.push(`${relative(project, file ?? '')}: ${name}\n${stack ?? message ?? inspect(error.cause)}`);
});
events.compose(process.stdout.isTTY ? new spec() : tap).pipe(process.stdout);
process.on('exit', () => {
  for (const failure of failures) console.log(`\nfailed: ${failure}`);
});
