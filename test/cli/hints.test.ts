import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { errorWithFlags, eventWithFlags, flagOf, optionInText, withFlags } from '../../src/cli/hints.js';
import { AirliftError } from '../../src/errors.js';

// dist/test/cli/hints.test.js -> the project
const project = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const src = join(project, 'src');

/** Commands, and options of other programs, that texts of the library may name. */
const foreign = [
  /airlift (?:export|import|serve|index|login|verify|repair|report) [^;]*/g,
  /tar --sparse/g,
  /(?:zstd|xz) [^;]*/g,
  /imgpkg copy [^;]*/g,
  /docker buildx build --output [\w=,.]+/g,
  /--cache-to type=registry/g,
  /oc-mirror --v2 --from/g,
  /--disable-default-registry-endpoint/g,
  // Custom properties in the style sheet of a report.
  /--(?:ink|soft|paper|line|band|own|shared|rest|good|bad)\b/g,
  /^--(?:input-type|expose-gc|(?:no-)?wasm-)\S*$/g,
  // What src/load passes to the programs of container engines.
  /^--(?:address|namespace|all-platforms|no-unpack|snapshotter|format|filter|quiet|interactive|host|url)$/g,
];

/** The texts of a file's string literals and templates, with `…` for what a template inserts. */
function textsOf(file: string): string[] {
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) texts.push(node.text);
    if (ts.isTemplateExpression(node))
      texts.push([node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join('…'));
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest));
  return texts;
}

function libraryTexts(): { readonly file: string; readonly text: string }[] {
  const entries = readdirSync(src, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !relative(src, file).startsWith('cli'))
    .flatMap((file) => textsOf(file).map((text) => ({ file: relative(project, file), text })));
}

/** The flags in a text that are not those of other programs. */
function flagsIn(text: string): string[] {
  const own = foreign.reduce((rest, pattern) => rest.replace(pattern, ''), text);
  return [...own.matchAll(/(?<![\w-])--[a-z][\w-]*/g)].map(([flag]) => flag);
}

test('the library names its own options in messages and hints, never flags of the command line', () => {
  const problems = libraryTexts().flatMap(({ file, text }) =>
    flagsIn(text).map((flag) => `${file}: ${flag} in ${JSON.stringify(text)}`),
  );
  assert.deepEqual(problems, []);
});

test('the command line has a flag for each option that the library names in backticks', () => {
  const problems: string[] = [];
  const named = new Set<string>();
  for (const { file, text } of libraryTexts()) {
    // Commands of other programs have blanks without a colon.
    for (const [quoted] of text.matchAll(/`[\w.]+(?::[^`]*)?`/g)) {
      const [match] = quoted.matchAll(optionInText);
      const name = match?.[1] ?? '';
      if (match?.[0] !== quoted || !Object.hasOwn(flagOf, name)) problems.push(`${file}: ${quoted}`);
      named.add(name);
    }
  }
  assert.deepEqual(problems, []);
  const unused = Object.keys(flagOf).filter((name) => !named.has(name));
  assert.deepEqual(unused, [], 'no text names these options');
});

test('each flag that takes the place of an option exists', () => {
  const manual = readFileSync(join(project, 'docs', 'commands.md'), 'utf8');
  const missing = Object.values(flagOf).filter((flag) => !new RegExp(`${flag}(?![\\w-])`).test(manual));
  assert.deepEqual(missing, []);
});

test('flags are found where the rule forbids them', () => {
  assert.deepEqual(flagsIn('choose one with --platform'), ['--platform']);
  assert.deepEqual(flagsIn('--force replaces it'), ['--force']);
  assert.deepEqual(flagsIn('zstd -d --long=31; or --tmp-dir'), ['--tmp-dir']);
  assert.deepEqual(flagsIn('pack it again without tar --sparse'), []);
  assert.deepEqual(flagsIn('a word--and a dash'), []);
});

test('options become flags with their values, other text stays', () => {
  const texts: readonly (readonly [string, string])[] = [
    ['choose among these platforms with `platforms`', 'choose among these platforms with --platform'],
    ["`onExistingTag: 'overwrite'` replaces it", '--on-existing-tag overwrite replaces it'],
    ['pass `plainHttp: true`', 'pass --plain-http'],
    ['pass `plainHttp: false`', 'pass --no-plain-http'],
    ['say it with `archives.platforms` a.tar=linux/arm64', 'say it with --arch a.tar=linux/arm64'],
    ['read `a.tar`: `toString` and `platforms: x`', 'read `a.tar`: `toString` and `platforms: x`'],
  ];
  for (const [text, expected] of texts) assert.equal(withFlags(text), expected);
});

test('errors keep everything but the names of options', () => {
  const cause = new Error('cause');
  const error = errorWithFlags(
    new AirliftError('registry', 'copy: `atomic`', {
      status: 404,
      reason: 'NAME_UNKNOWN',
      cause,
      lines: ['failed: x', 'hint: `force`'],
      hint: '`keepGoing` copies the others',
    }),
  );
  assert.deepEqual(error.lines, ['copy: --atomic', 'failed: x', 'hint: --force']);
  assert.equal(error.hint, '--keep-going copies the others');
  assert.deepEqual(
    [error.code, error.status, error.reason, error.cause],
    ['registry', 404, 'NAME_UNKNOWN', cause],
  );
  const other = new Error('`force`');
  assert.equal(errorWithFlags(other), other);
});

test('events name flags in warnings and failures alone', () => {
  assert.deepEqual(eventWithFlags({ event: 'warning', message: 'add `force`' }), {
    event: 'warning',
    message: 'add --force',
  });
  assert.deepEqual(eventWithFlags({ event: 'image-failed', image: 'a', message: 'b', hint: 'add `force`' }), {
    event: 'image-failed',
    image: 'a',
    message: 'b',
    hint: 'add --force',
  });
  const reading = { event: 'reading', file: '`force`' } as const;
  assert.equal(eventWithFlags(reading), reading);
});
