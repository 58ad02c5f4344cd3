import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { temp } from './support/temp.js';

// dist/test/index.test.js -> dist/src
const declared = join(dirname(fileURLToPath(import.meta.url)), '..', 'src');

/** The types that the exports of `entry` mention in their declarations, directly or through other types, without being exported. */
function missingTypes(entry: string): string[] {
  const program = ts.createProgram([entry], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: [],
  });
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(entry);
  const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
  assert.ok(module, `${entry} is a module`);
  const original = (symbol: ts.Symbol): ts.Symbol =>
    (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
  const exported = new Set(checker.getExportsOfModule(module).map(original));
  const missing = new Set<string>();
  const seen = new Set<ts.Symbol>();
  const visitSymbol = (symbol: ts.Symbol, from: string): void => {
    if (seen.has(symbol) || (symbol.flags & ts.SymbolFlags.TypeParameter) !== 0) return;
    seen.add(symbol);
    for (const declaration of symbol.declarations ?? []) {
      const file = declaration.getSourceFile().fileName;
      if (!file.startsWith(dirname(entry))) continue;
      if (!exported.has(symbol))
        missing.add(`${symbol.name} of ${relative(dirname(entry), file)}, in ${from}`);
      visit(declaration, symbol.name);
    }
  };
  const visit = (node: ts.Node, from: string): void => {
    const name = ts.isTypeReferenceNode(node)
      ? node.typeName
      : ts.isExpressionWithTypeArguments(node)
        ? node.expression
        : ts.isTypeQueryNode(node)
          ? node.exprName
          : ts.isImportTypeNode(node)
            ? node.qualifier
            : undefined;
    const symbol = name === undefined ? undefined : checker.getSymbolAtLocation(name);
    if (symbol !== undefined) visitSymbol(original(symbol), from);
    ts.forEachChild(node, (child) => visit(child, from));
  };
  for (const symbol of exported) visitSymbol(symbol, 'index');
  return [...missing].sort();
}

test('every type in the signatures of the library is exported', () => {
  assert.deepEqual(missingTypes(join(declared, 'index.d.ts')), []);
});

test('a type that is not exported is found', (t) => {
  const dir = temp(t);
  const deep = 'export interface Deep {\n  a: string;\n}\n';
  writeFileSync(join(dir, 'deep.d.ts'), deep);
  writeFileSync(
    join(dir, 'index.d.ts'),
    "import type { Deep } from './deep.js';\nexport interface Options {\n  deep?: readonly Deep[];\n}\n",
  );
  assert.deepEqual(missingTypes(join(dir, 'index.d.ts')), ['Deep of deep.d.ts, in Options']);
});
