/**
 * Bundles airlift's command line and worker threads with esbuild, from the files that tsc compiled. docs/architecture.md, "Built files",
 * says why. `.config/build.js` writes what the package ships; other builds pass their own options.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Directory of the project. */
export const project = join(dirname(fileURLToPath(import.meta.url)), '..');
const compiled = join(project, 'dist', 'src');

/** The module that runs a command line. */
export const commandLine = join(compiled, 'cli', 'main.js');

/**
 * Returns the modules of worker threads. A module starts its worker as `new URL('./NAME-worker.js', import.meta.url)`, which works in
 * bundled files too because all of them are in one directory.
 */
export function workers() {
  const files = readdirSync(compiled, { recursive: true }).filter((file) => file.endsWith('-worker.js'));
  const names = files.map((file) => basename(file));
  const repeated = names.find((name, at) => names.indexOf(name) !== at);
  if (repeated !== undefined) throw new Error(`two workers have the name ${repeated}`);
  return files.sort().map((file) => join(compiled, file));
}

/**
 * Replaces the imports of `src/index.ts` in the command line by imports of the modules that it exports from. esbuild puts all exports of
 * one module into one file, so every command would load the whole library.
 */
const skipIndex = {
  name: 'skip-index',
  setup({ onLoad }) {
    const index = readFileSync(join(compiled, 'index.js'), 'utf8');
    const exported = new Map();
    for (const [, names, from] of index.matchAll(/^export \{([^}]*)\} from '\.\/([^']*)';$/gm))
      for (const name of names.split(',')) exported.set(name.trim(), from);
    const importOf = (name) => {
      if (!exported.has(name)) throw new Error(`src/index.ts does not export ${name}`);
      return `import { ${name} } from '../${exported.get(name)}';`;
    };
    onLoad({ filter: /[\\/]dist[\\/]src[\\/]cli[\\/][^\\/]*\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(
        /^import \{([^}]*)\} from '\.\.\/index\.js';$/gm,
        (_, names) => [...names.matchAll(/\w+/g)].map(([name]) => importOf(name)).join(' '),
      ),
    }));
  },
};

/** Modules that replace parts of libraries. */
const replacements = {
  // The whole of undici takes 50 ms to load. Names of it that airlift's modules import are listed here.
  undici: `
    export { default as Agent } from 'undici/lib/dispatcher/agent.js';
    export { default as errors } from 'undici/lib/core/errors.js';`,
  // Finds the native part of better-sqlite3 without `bindings`, which searches beside the file that calls it.
  bindings: 'module.exports = (name) => require(`better-sqlite3/build/Release/${name}`);',
  // yargs measures only airlift's help, which is plain text. The library compiles Unicode's tables at the start, which takes 25 ms.
  'string-width': 'export default (text) => text.length;',
};

const replaceLibraries = {
  name: 'replace-libraries',
  setup({ onLoad, onResolve }) {
    const names = Object.keys(replacements).join('|');
    onResolve({ filter: new RegExp(`^(?:${names})$`) }, ({ path, importer }) =>
      // Progress bars may contain any text.
      importer.includes('cli-progress') ? undefined : { path, namespace: 'replacement' },
    );
    onLoad({ filter: /.*/, namespace: 'replacement' }, ({ path }) => ({
      contents: replacements[path],
      resolveDir: project,
    }));
  },
};

/**
 * Bundles modules as ES modules that run on every supported version of Node.js. Function names and the order of the code remain, so that
 * stack traces and profiles can be read.
 * @param entryPoints absolute paths of modules
 * @param options options of esbuild, which replace the ones here; its plugins run before the ones here, its definitions are added
 * @returns esbuild's result, with its list of inputs; nothing is written unless `options` says so
 */
export async function bundle(entryPoints, { plugins = [], define = {}, ...options } = {}) {
  const { version } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'));
  const result = await build({
    absWorkingDir: project,
    entryPoints,
    outdir: join(project, 'dist', 'cli'),
    bundle: true,
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    // zstd-codec's JavaScript for systems without WebAssembly.
    external: ['./zstd-codec-binding.js'],
    plugins: [...plugins, skipIndex, replaceLibraries],
    // zstd-codec reads __dirname but no file: its WebAssembly is in its JavaScript.
    define: { AIRLIFT_VERSION: JSON.stringify(version), __dirname: '""', ...define },
    // Libraries in CommonJS require modules of Node.js with it.
    banner: {
      js: `import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);`,
    },
    logLevel: 'warning',
    ...options,
  });
  const inputs = Object.keys(result.metafile.inputs);
  const index = relative(project, join(compiled, 'index.js'));
  if (inputs.includes(index))
    throw new Error(`${index} is bundled whole: see skipIndex of .config/bundle.js`);
  return result;
}
