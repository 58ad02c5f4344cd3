import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

// dist/test/imports.test.js -> the project
const project = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const src = join(project, 'src');

/** Lowest first: a file imports from its own part or from lower ranks, and parts of one rank never import each other. */
const ranks: readonly (readonly string[])[] = [
  ['errors'],
  ['bounded-map', 'concurrency', 'failed-images'],
  ['oci'],
  ['io', 'progress'],
  ['tar', 'signing'],
  ['registry', 'registry-server', 'bundle', 'archive', 'lists', 'site'],
  ['plan', 'receipts', 'request', 'deep', 'policy'],
  ['transfer'],
  ['publish', 'merge'],
  ['parts'],
  ['export', 'save', 'repair'],
  [
    'import',
    'load',
    'image-index',
    'serve',
    'kit',
    'copy',
    'inspect',
    'diff',
    'merge-bundles',
    'inventory',
    'verify',
    'sign',
    'volumes',
    'compare-registry',
    'list-images',
    'login',
    'registries-yaml',
  ],
  ['report', 'stow'],
  ['index'],
  ['cli'],
];

/** Within a folder, the same for its sub-folders and the files that lie in the folder itself. */
const innerRanks: Readonly<Record<string, readonly (readonly string[])[]>> = {
  archive: [['io'], ['compression'], ['platform'], ['read', 'write']],
  bundle: [['report'], ['format'], ['journal', 'reader'], ['verify'], ['write']],
  registry: [['config'], ['http'], ['auth'], ['api'], ['upload'], ['assemble'], ['registry']],
};

/** Each third-party library and the one part that may import it. */
const libraries: Readonly<Record<string, string>> = {
  'better-sqlite3': 'bundle',
  '@sigstore/bundle': 'signing',
  '@sigstore/protobuf-specs': 'signing',
  '@sigstore/verify': 'signing',
  undici: 'registry',
  'smol-toml': 'registry',
  'tar-stream': 'archive',
  zstddec: 'archive',
  'zstd-codec': 'archive',
  yaml: 'lists',
  semver: 'lists',
  re2js: 'lists',
  bcryptjs: 'serve',
  yargs: 'cli',
  'cli-progress': 'cli',
};

/**
 * What the command line may import besides `src/index.ts`: the error class, which usage errors need before the library is loaded, and
 * helpers for texts, files and long lists that say nothing about images. A command gets everything else from the library as any other program.
 */
const besidesIndex: readonly string[] = [
  'errors',
  'failed-images',
  'io/directories',
  'io/stored-stream',
  'oci/bytes',
  'oci/media-types',
  'oci/digest-map',
  'oci/printable',
  'oci/quoted',
];

/** The folder of `src/` that holds a file, or the name of a file that lies in `src/` itself. */
function partOf(file: string): string {
  const [first = ''] = relative(src, file).split(sep);
  return first.replace(/\.[jt]s$/, '');
}

/** The sub-folder of `src/PART/` that holds a file, or the name of a file that lies in `src/PART/` itself. */
function innerPartOf(file: string): string {
  const [, second = ''] = relative(src, file).split(sep);
  return second.replace(/\.[jt]s$/, '');
}

function rankOf(part: string, table = ranks, folder = 'src'): number {
  const rank = table.findIndex((parts) => parts.includes(part));
  assert.notEqual(
    rank,
    -1,
    `${folder}/${part} has no rank: add it to ${folder === 'src' ? 'ranks' : 'innerRanks'} and to docs/architecture.md`,
  );
  return rank;
}

/** Why a file of one part must not import another file of it, if so. */
function innerProblemOf(part: string, file: string, imported: string): string | undefined {
  const table = innerRanks[part];
  const [from, to] = [innerPartOf(file), innerPartOf(imported)];
  if (table === undefined || from === to) return undefined;
  const [low, high] = [rankOf(to, table, `src/${part}`), rankOf(from, table, `src/${part}`)];
  return low < high ? undefined : `${part}/${from} may not import ${part}/${to}`;
}

/** The specifiers a file imports, types too. */
function importsOf(text: string): string[] {
  const found = text.matchAll(
    /^(?:import|export)\s[^'"`;]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

function* sourceFiles(): Generator<string> {
  for (const entry of readdirSync(src, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith('.ts')) yield join(entry.parentPath, entry.name);
  }
}

/** What is wrong with one import, if anything. */
function problemOf(file: string, specifier: string): string | undefined {
  const where = `${relative(project, file)} imports ${specifier}`;
  const part = partOf(file);
  if (specifier.startsWith('node:')) return undefined;
  if (specifier.startsWith('.')) {
    const imported = join(dirname(file), specifier);
    const other = partOf(imported);
    if (other === part) {
      const problem = innerProblemOf(part, file, imported);
      return problem === undefined ? undefined : `${where}: ${problem}`;
    }
    const path = relative(src, imported).replace(/\.js$/, '');
    if (part === 'cli' && other !== 'index' && !besidesIndex.includes(path))
      return `${where}: cli imports the library through index`;
    return rankOf(other) < rankOf(part) ? undefined : `${where}: ${part} may not import ${other}`;
  }
  const library = specifier.startsWith('@')
    ? specifier.split('/').slice(0, 2).join('/')
    : (specifier.split('/')[0] ?? '');
  return libraries[library] === part
    ? undefined
    : `${where}: ${library} belongs to ${libraries[library] ?? 'no part yet'}`;
}

test('imports go down only, and a library lives in one folder', () => {
  const problems: string[] = [];
  for (const file of sourceFiles()) {
    for (const specifier of importsOf(readFileSync(file, 'utf8'))) {
      const problem = problemOf(file, specifier);
      if (problem !== undefined) problems.push(problem);
    }
  }
  assert.deepEqual(problems, []);
});

test('the import rule catches what it forbids', () => {
  assert.match(
    problemOf(join(src, 'registry', 'x.ts'), '../bundle/y.js') ?? '',
    /registry may not import bundle/,
  );
  assert.match(problemOf(join(src, 'oci', 'x.ts'), '../plan/y.js') ?? '', /oci may not import plan/);
  assert.match(problemOf(join(src, 'copy.ts'), './cli/x.js') ?? '', /copy may not import cli/);
  assert.match(problemOf(join(src, 'cli', 'x.ts'), 'undici') ?? '', /undici belongs to registry/);
  assert.match(
    problemOf(join(src, 'registry', 'http', 'x.ts'), '../auth/y.js') ?? '',
    /registry\/http may not import registry\/auth/,
  );
  assert.equal(problemOf(join(src, 'registry', 'auth', 'x.ts'), '../http/y.js'), undefined);
  assert.equal(problemOf(join(src, 'export', 'x.ts'), '../plan/y.js'), undefined);
  assert.match(problemOf(join(src, 'cli', 'x.ts'), '../oci/digest.js') ?? '', /library through index/);
  assert.equal(problemOf(join(src, 'cli', 'x.ts'), '../index.js'), undefined);
  assert.equal(problemOf(join(src, 'cli', 'x.ts'), '../oci/quoted.js'), undefined);
});

/** Groups of files that import each other in a circle (Tarjan's strongly connected components). */
function circlesOf(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[][] = [];
  const visit = (node: string): void => {
    const at = order.size;
    order.set(node, at);
    lowest.set(node, at);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!order.has(next)) visit(next);
      if (stack.includes(next)) lowest.set(node, Math.min(lowest.get(node) ?? at, lowest.get(next) ?? at));
    }
    if (lowest.get(node) !== at) return;
    const circle = stack.splice(stack.indexOf(node));
    if (circle.length > 1) circles.push(circle.sort());
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return circles;
}

/** The files that each file of `src/` imports, paths below `src/`. */
function importGraph(): Map<string, string[]> {
  const graph = new Map<string, string[]>();
  for (const file of sourceFiles()) {
    const imported = importsOf(readFileSync(file, 'utf8'))
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => relative(src, join(dirname(file), specifier.replace(/\.js$/, '.ts'))));
    graph.set(relative(src, file), imported);
  }
  return graph;
}

test('--version and --help load no command and nothing of the library but helpers', () => {
  const loaded = new Set<string>();
  const load = (file: string): void => {
    if (loaded.has(file)) return;
    loaded.add(file);
    const text = readFileSync(join(src, file), 'utf8');
    // Imports of types leave nothing to load; `import()` loads when it is called.
    const found = text.matchAll(/^(?:import|export) (?!type\b)[^'"`;]*?from '([^']+)'|^import '([^']+)'/gm);
    for (const [, from, alone] of found) {
      const specifier = from ?? alone ?? '';
      if (specifier.startsWith('.')) load(join(dirname(file), specifier.replace(/\.js$/, '.ts')));
      else if (!specifier.startsWith('node:')) loaded.add(specifier);
    }
  };
  load(join('cli', 'main.ts'));
  const library = [...loaded].filter((file) => file.endsWith('.ts') && !file.startsWith('cli'));
  const isHelper = (file: string): boolean => besidesIndex.includes(file.replace(/\.ts$/, ''));
  assert.deepEqual(
    [...loaded].filter((file) => !file.endsWith('.ts')),
    ['yargs'],
  );
  assert.deepEqual(
    library.filter((file) => !isHelper(file)),
    [],
  );
});

test('no files import each other in a circle', () => {
  assert.deepEqual(circlesOf(importGraph()), []);
});

test('a circle of imports is found', () => {
  const graph = new Map([
    ['a', ['b']],
    ['b', ['c', 'd']],
    ['c', ['a']],
    ['d', []],
  ]);
  assert.deepEqual(circlesOf(graph), [['a', 'b', 'c']]);
});

test('only cli prints, reads the environment or exits', () => {
  const found: string[] = [];
  for (const file of sourceFiles()) {
    if (partOf(file) === 'cli') continue;
    const text = readFileSync(file, 'utf8');
    if (/process\.(env|exit|exitCode|stdout|stderr|stdin|argv)\b|console\./.test(text))
      found.push(relative(project, file));
  }
  assert.deepEqual(found, []);
});

test('files stay small', () => {
  const large: string[] = [];
  for (const file of sourceFiles()) {
    const lines = readFileSync(file, 'utf8').split('\n').length - 1;
    if (lines > 500) large.push(`${relative(project, file)}: ${lines} lines`);
  }
  assert.deepEqual(large, []);
});

test('better-sqlite3 is used in one place, which keeps what must not be collected', () => {
  const opening = [...sourceFiles()].filter((file) =>
    /^import (?!type)[^;]*from 'better-sqlite3'/m.test(readFileSync(file, 'utf8')),
  );
  assert.deepEqual(
    opening.map((file) => relative(src, file)),
    [join('bundle', 'format', 'better-sqlite.ts')],
  );
});
