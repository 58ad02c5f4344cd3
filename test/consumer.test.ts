import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import ts from 'typescript';
import { projectFile } from './support/doc-examples.js';
import { multiPlatform } from './support/image-sets.js';
import { needs, run } from './support/peers.js';
import { pushImage } from './support/push-image.js';
import { askRegistry } from './support/registry-http.js';
import { serveStore } from './support/serve-store.js';
import { temp, type Cleanup } from './support/temp.js';

const manual = readFileSync(projectFile('docs/library.md'), 'utf8');

/** The TypeScript examples of docs/library.md. */
const blocks = [...manual.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = '']) => code);

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
}

/** Installs the packed project in an empty project, with the dependencies of this checkout, so without network. */
async function installConsumer(t: Cleanup): Promise<string> {
  const dir = temp(t);
  const modules = join(dir, 'node_modules');
  const installed = join(modules, 'airlift');
  mkdirSync(installed, { recursive: true });
  writeFileSync(join(dir, 'package.json'), '{ "private": true, "type": "module" }\n');
  await run(process.execPath, [projectFile('.config/build.js')]);
  // Without --ignore-scripts the build would remove the tests that are running.
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', dir];
  const { stdout } = await run('npm', pack, { cwd: projectFile('.'), env: { npm_config_offline: 'true' } });
  const [packed] = JSON.parse(stdout) as { filename: string }[];
  assert.ok(packed);
  await run('tar', ['-xzf', join(dir, packed.filename), '--strip-components=1', '-C', installed]);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Manifest;
  for (const name of [...Object.keys(dependencies), '@types/node']) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(projectFile(`node_modules/${name}`), join(modules, name));
  }
  return dir;
}

/** Returns the compiler's errors in modules of the consumer, including the library's declarations. */
function typeErrors(dir: string, files: readonly string[]): string[] {
  const program = ts.createProgram(
    files.map((file) => join(dir, file)),
    {
      strict: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2023.d.ts'],
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      types: ['node'],
      typeRoots: [join(dir, 'node_modules', '@types')],
    },
  );
  return ts
    .getPreEmitDiagnostics(program)
    .map(
      ({ file, messageText }) =>
        `${file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
    );
}

describe('a project that installs airlift', { skip: needs('tar') }, () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  let dir: string;

  before(async () => {
    dir = await installConsumer({ after: (work) => void cleanups.push(work) });
    blocks.forEach((code, at) => writeFileSync(join(dir, `example${at}.ts`), code));
  });

  after(async () => {
    for (const work of cleanups) await work();
  });

  test('compiles every example of docs/library.md', () => {
    assert.ok(blocks.length > 3);
    const files = blocks.map((_, at) => `example${at}.ts`);
    assert.deepEqual(typeErrors(dir, files), []);
    writeFileSync(
      join(dir, 'wrong.ts'),
      "import { exportBundle } from 'airlift';\nawait exportBundle({});\n",
    );
    assert.equal(typeErrors(dir, ['wrong.ts']).length, 1);
  });

  test('exports, verifies and imports an image as docs/library.md shows', async (t) => {
    const source = await serveStore(t);
    const site = await serveStore(t);
    await pushImage(source, 'acme/web', '1', multiPlatform({ name: 'web' }));
    const code = ts.transpileModule(blocks[0] ?? '', {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
    }).outputText;
    writeFileSync(join(dir, 'example.js'), code);
    const { stdout } = await run(process.execPath, ['example.js', `${source}/acme/web:1`, site], {
      cwd: dir,
    });
    const head = { method: 'HEAD', path: '/v2/acme/web/manifests/1' };
    const { headers } = await askRegistry(site, head);
    const digest = String(headers['docker-content-digest']);
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    assert.equal(stdout, `published: ${site}/acme/web:1@${digest}\n`);
  });

  test('runs the command line', async (t) => {
    const { version } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8')) as { version: string };
    const program = join(dir, 'node_modules', 'airlift', 'bin', 'airlift.js');
    const { stdout } = await run(process.execPath, [program, '--version']);
    assert.equal(stdout, `${version}\n`);
    const source = await serveStore(t);
    await pushImage(source, 'acme/web', '1', multiPlatform({ name: 'web' }));
    const bundle = join(dir, 'web.tar');
    await run(process.execPath, [program, 'export', `${source}/acme/web:1`, '-o', bundle]);
    const verified = await run(process.execPath, [program, 'verify', bundle]);
    assert.match(verified.stdout, /nothing lost or changed$/m);
  });

  test('gets the command line once, bundled, with the licences of its libraries', () => {
    const installed = join(dir, 'node_modules', 'airlift', 'dist');
    assert.equal(existsSync(join(installed, 'src', 'cli')), false);
    assert.equal(existsSync(join(installed, 'cli', 'main.js')), true);
    assert.match(
      readFileSync(join(installed, 'cli', 'THIRD-PARTY-LICENSES'), 'utf8'),
      /^undici \S+ \(MIT\)$/m,
    );
  });

  test('cannot import modules that are not exported', async () => {
    writeFileSync(join(dir, 'deep.js'), "await import('airlift/dist/src/errors.js');\n");
    const { stderr } = await run(process.execPath, ['deep.js'], { cwd: dir, codes: [1] });
    assert.match(stderr, /ERR_PACKAGE_PATH_NOT_EXPORTED/);
  });
});

test('docs/library.md names every error code and every event', () => {
  for (const [file, type, property] of [
    ['src/errors.ts', 'ErrorCode', undefined],
    ['src/progress.ts', 'ProgressEvent', 'event'],
  ] as const) {
    const source = ts.createSourceFile(
      file,
      readFileSync(projectFile(file), 'utf8'),
      ts.ScriptTarget.Latest,
      true,
    );
    const names = new Set<string>();
    const visit = (node: ts.Node): void => {
      const owner = node.parent;
      if (ts.isStringLiteral(node) && ts.isLiteralTypeNode(owner)) {
        const isName =
          property === undefined
            ? ts.isUnionTypeNode(owner.parent)
            : ts.isPropertySignature(owner.parent) && owner.parent.name.getText() === property;
        if (isName) names.add(node.text);
      }
      ts.forEachChild(node, visit);
    };
    source.statements
      .filter((statement) => ts.isTypeAliasDeclaration(statement))
      .filter(({ name }) => name.text === type)
      .forEach(visit);
    assert.ok(names.size > 5, type);
    const missing = [...names].filter((name) => !manual.includes(`\`${name}\``));
    assert.deepEqual(missing, []);
  }
});
