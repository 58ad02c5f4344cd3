import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import ts from 'typescript';
import { projectFile } from './support/doc-examples.js';

/** Returns the lines of a module that await something outside of functions. */
function topLevelAwaits(text: string): number[] {
  const source = ts.createSourceFile('module.ts', text, ts.ScriptTarget.Latest, true);
  const lines: number[] = [];
  const search = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) return;
    if (ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined))
      lines.push(source.getLineAndCharacterOfPosition(node.getStart()).line + 1);
    ts.forEachChild(node, search);
  };
  search(source);
  return lines;
}

// V8 ends the whole process ("Check failed: (location_) != nullptr") if a thread is terminated at the moment that such a module starts.
test('no module that a worker thread may load awaits at its top level', () => {
  const root = projectFile('src');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  assert.ok(files.some((file) => file.endsWith('-worker.ts')));
  const found = files.flatMap((file) =>
    topLevelAwaits(readFileSync(join(root, file), 'utf8')).map((line) => `${file}:${line}`),
  );
  assert.deepEqual(found, []);
});

test('top-level awaits are found, those of functions are not', () => {
  assert.deepEqual(topLevelAwaits('const a = 1;\nconst b = await a;\nfor await (const c of b) c();'), [2, 3]);
  assert.deepEqual(topLevelAwaits('const f = async () => await 1;\nclass A { async b() { await 1; } }'), []);
});
