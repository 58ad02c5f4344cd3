/**
 * Bundles what an executable of the kit contains: the command line and each worker thread, which the executable holds as assets, because
 * nothing is loaded from files there. `src/kit/` builds kits from it, `docs/kit.md` describes them.
 */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { bundle, project, workers } from './bundle.js';
import { licensesOf } from './licenses.js';

/** Loads the modules of worker threads from assets of the executable. They are ES modules, so a data URL names each. */
const workersFromAssets = {
  name: 'workers-from-assets',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]dist[\\/]src[\\/].*\.js$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      if (!text.includes('new Worker(')) return undefined;
      const contents = text.replace(
        /new URL\('\.\/([a-z-]+-worker\.js)', import\.meta\.url\)/g,
        "assetUrl('$1')",
      );
      if (contents === text || contents.includes('import.meta'))
        throw new Error(`${path} names its worker in a way that .config/kit.js does not know`);
      const assetUrl = `function assetUrl(name) {
        const script = Buffer.from(process.getBuiltinModule('node:sea').getRawAsset(name)).toString('base64');
        return new URL('data:text/javascript;base64,' + script);
      }`;
      return { contents: `${contents}\n${assetUrl}` };
    });
  },
};

/** Leaves out better-sqlite3, whose native part would be a second file. The Node.js of the kit has SQLite. */
const onlyBuiltinSqlite = {
  name: 'only-builtin-sqlite',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]better-sqlite\.js$/ }, () => ({
      contents: `export const openWithBetterSqlite = () => ({ notLoaded: new Error('not in the kit') });`,
    }));
  },
};

const options = {
  plugins: [onlyBuiltinSqlite, workersFromAssets],
  target: 'node24',
  // The kit on a medium is one file per platform, so size counts more than names in stack traces.
  minify: true,
  // Licences are in a file of their own.
  legalComments: 'none',
  define: { 'import.meta.url': '"file:///airlift.js"' },
};

/**
 * Returns what `src/kit/files.ts` reads: the bundled files, the texts of a kit, its licences and the options of Node.js.
 * @returns contents by name; `main.js` is in CommonJS, as the main script of an executable must be
 */
export async function kitFiles() {
  const contents = new Map();
  const inputs = new Set();
  const add = async (file, name, format) => {
    const { outputFiles, metafile } = await bundle([file], { ...options, ...format });
    contents.set(name, Buffer.from(outputFiles[0].contents));
    for (const input of Object.keys(metafile.inputs)) inputs.add(input);
  };
  await add(join(project, 'dist', 'src', 'cli', 'kit-main.js'), 'main.js', { format: 'cjs', banner: {} });
  for (const file of workers()) {
    // It compresses with a library where Node.js has no zstd; that of the kit has it.
    if (basename(file) === 'zstd-encoder-worker.js') continue;
    const js = "const require = process.getBuiltinModule('node:module').createRequire('/');";
    await add(file, basename(file), { banner: { js } });
  }
  const read = (...path) => readFileSync(join(project, ...path), 'utf8');
  const libraries = licensesOf([...inputs], 'airlift contains parts of these libraries:');
  const texts = {
    'licenses.txt': `${read('LICENSE').trim()}\n\n${'-'.repeat(80)}\n${libraries}`,
    'launcher.sh': read('src', 'kit', 'launcher.sh'),
    'README-FIRST.txt': read('src', 'kit', 'README-FIRST.txt'),
    // The SQLite of Node.js 24 prints that it is experimental.
    'node-options.txt': '--disable-warning=ExperimentalWarning\n',
    'version.txt': `${JSON.parse(read('package.json')).version}\n`,
  };
  for (const [name, text] of Object.entries(texts)) contents.set(name, Buffer.from(text));
  return contents;
}
