import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AirliftError } from '../../src/errors.js';
import { parseImageList } from '../../src/lists/read.js';
import { entriesOf, itemsOf, textOf, valueOf, yamlDocuments, type YamlNode } from '../../src/lists/yaml.js';

function read(text: string): YamlNode[] {
  return [
    ...yamlDocuments(text, 'x', {
      mistake: (line, message) => assert.fail(`${line}: ${message}`),
      remark: (line, message) => assert.fail(`${line}: ${message}`),
    }),
  ];
}

function refused(text: string, message: RegExp): void {
  assert.throws(
    () => parseImageList(text, 'x.yaml'),
    (error) => {
      assert.ok(error instanceof AirliftError, String(error));
      assert.equal(error.code, 'usage');
      assert.match(error.message, message);
      assert.ok(error.message.length < 20_000);
      return true;
    },
  );
}

test('scalars keep their text; empty and null have none', () => {
  const [node] = read(
    'a: 1.20\nb: 0x10\nc: yes\nd:\ne: ~\nf: null\ng: "null "\nh: >-\n  two\n  lines\ni: 2024-01-01\n',
  );
  const texts = entriesOf(node).map(([key, value]) => `${key}=${textOf(value)}`);
  assert.deepEqual(texts, [
    'a=1.20',
    'b=0x10',
    'c=yes',
    'd=undefined',
    'e=undefined',
    'f=undefined',
    'g=null ',
    'h=two lines',
    'i=2024-01-01',
  ]);
});

test('merge keys add the keys that the map does not have', () => {
  const [node] = read('a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {y: 0, <<: [*a, *b]}\n');
  const entries = entriesOf(valueOf(node, 'c')).map(([key, value]) => [key, textOf(value)]);
  assert.deepEqual(entries, [
    ['y', '0'],
    ['x', '1'],
    ['z', '4'],
  ]);
});

test('an alias refers to the last anchor of its name, only in its own document', () => {
  const [node] = read('- &a one\n- *a\n- &a two\n- *a\n');
  assert.deepEqual(itemsOf(node).map(textOf), ['one', 'one', 'two', 'two']);
  refused('- &a x\n---\n- *a\n', /x\.yaml:3: the alias \*a has no earlier anchor/);
  refused('a: &a [*a]\n', /the alias \*a has no earlier anchor/);
});

test('nesting, aliases, merge keys and size are limited', () => {
  refused('['.repeat(100_000), /nested more than 200 deep/);
  refused('{a: '.repeat(50_000), /nested more than 200 deep/);
  refused('- '.repeat(50_000), /nested more than 200 deep/);
  const lines = ['apiVersion: v1', 'kind: X', 'a0: &a0 [x]'];
  for (let at = 1; at < 12; at++) lines.push(`a${at}: &a${at} [${`*a${at - 1},`.repeat(9)}]`);
  refused(lines.join('\n'), /aliases expand too far/);
  const chain = ['apiVersion: v1', 'kind: X', 'a0: &a0 [x]'];
  for (let at = 1; at < 5000; at++) chain.push(`a${at}: &a${at} [*a${at - 1}]`);
  refused(chain.join('\n'), /aliases expand too far/);
  const merges = ['a0: &a0 {k0: x}'];
  for (let at = 1; at < 2000; at++) merges.push(`a${at}: &a${at} {k${at}: x, <<: *a${at - 1}}`);
  refused(merges.join('\n'), /merge keys expand/);
  refused(`a: "${'x'.repeat(5 << 20)}"`, /a YAML document is too large/);
});

test('the number of reported mistakes is limited', () => {
  refused('a: b: c\n---\n'.repeat(5000), /and \d+ more$/);
});

test('YAML in an unknown format is refused with the known formats; beside other documents it is a note', () => {
  refused(
    'replicas: 3\nimage: {repository: a, tag: b}\n',
    /x\.yaml:1: the YAML is not in a format that airlift reads/,
  );
  const list = parseImageList('foo: bar\n---\n- redis:7\n', 'x');
  assert.equal(list.references.length, 1);
  assert.deepEqual(list.notes, [
    { file: 'x', line: 1, message: 'the YAML document is not in a format that airlift reads' },
  ]);
});
