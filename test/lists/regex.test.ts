import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRegex } from '../../src/lists/regex.js';

/** A small generator with a fixed start, so that a failure comes again. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function randomPattern(pick: (below: number) => number, depth: number): string {
  const atoms = [
    'a',
    'b',
    '1',
    '-',
    '\\.',
    '.',
    '[ab]',
    '[^a]',
    '[a-b1]',
    '\\d',
    '\\w',
    '\\D',
    '^',
    '$',
    '\\-',
  ];
  const repeats = ['*', '+', '?', '{2}', '{1,}', '{0,2}', '*?', '+?'];
  let pattern = '';
  for (let count = pick(4); count >= 0; count--) {
    const group = depth > 0 && pick(4) === 0;
    const atom = group
      ? `(${pick(2) === 0 ? '?:' : ''}${randomPattern(pick, depth - 1)})`
      : (atoms[pick(atoms.length)] ?? '');
    // JavaScript refuses to repeat an assertion in Unicode mode.
    const repeat = pick(3) === 0 && !/^[$^]$/.test(atom) ? (repeats[pick(repeats.length)] ?? '') : '';
    pattern += atom + repeat;
  }
  return pick(5) === 0 ? `${pattern}|${randomPattern(pick, 0)}` : pattern;
}

test('it answers as the engine of JavaScript does', () => {
  const pick = generator(7);
  let matched = 0;
  for (let round = 0; round < 3000; round++) {
    const pattern = randomPattern(pick, 2);
    const ours = parseRegex(pattern);
    const theirs = new RegExp(pattern, 's');
    for (let trial = 0; trial < 8; trial++) {
      let text = '';
      for (let count = pick(7); count > 0; count--) text += 'ab1-._'.charAt(pick(6));
      const want = theirs.test(text);
      matched += want ? 1 : 0;
      assert.equal(ours.test(text), want, `${pattern} on ${text}`);
    }
  }
  assert.ok(matched > 2000 && matched < 22_000, `both answers are met: ${matched}`);
});

test('usual patterns for tags', () => {
  const cases: [string, string[], string[]][] = [
    ['^v3', ['v3', 'v3.1'], ['v2', 'xv3']],
    ['^1\\.13\\.[12]-alpine-perl$', ['1.13.1-alpine-perl'], ['1.13.3-alpine-perl', '1x13.1-alpine-perl']],
    ['^(v?\\d+\\.){2}\\d+$', ['v1.2.3', '1.20.30'], ['1.2', 'v1.2.3-rc1']],
    ['(?i)RC', ['1.0-rc1', '1.0-Rc'], ['1.0']],
    ['(?i)^[a-c]+$', ['ABC', 'abC'], ['d']],
    ['^(?:alpine|bookworm)$', ['alpine'], ['alpine3']],
    ['', ['anything', ''], []],
  ];
  for (const [pattern, yes, no] of cases) {
    for (const text of yes) assert.equal(parseRegex(pattern).test(text), true, `${pattern} on ${text}`);
    for (const text of no) assert.equal(parseRegex(pattern).test(text), false, `${pattern} on ${text}`);
  }
});

test('what can not run in linear time, or makes no sense, is refused by name', () => {
  const cases: [string, RegExp][] = [
    ['(a)\\1', /"\\\\?1" is not supported/],
    ['(?=a)', /"\(\?" is only supported as/],
    ['a**', /a repeat is repeated/],
    ['*a', /"\*" repeats nothing/],
    ['(a', /"\(" is not closed/],
    ['a)', /"\)" that closes nothing/],
    ['[a', /"\[" is not closed/],
    ['[]', /empty "\[\]"/],
    ['[z-a]', /wrong way round/],
    ['[[:alpha:]]', /classes are not supported/],
    ['a{2,1}', /out of range/],
    ['a{x}', /has to be written "\\\{"/],
    ['\\', /ends in/],
    ['a{1000}{1000}', /repeated/],
    ['((a{100}){100}){100}', /too large/],
    ['('.repeat(100) + ')'.repeat(100), /nested too deep/],
    ['a'.repeat(600), /too long/],
  ];
  for (const [pattern, message] of cases)
    assert.throws(() => parseRegex(pattern), message, pattern.slice(0, 50));
});

test('patterns that keep a backtracking engine busy for years are answered', () => {
  const text = `${'a'.repeat(127)}!`;
  for (const pattern of ['^(a+)+$', '^(a|a)*$', '^(a|aa)+$', '^(.*a){20}$', '^(a?){50}a{50}b$', '(x+x+)+y'])
    assert.equal(parseRegex(pattern).test(text), false, pattern);
});
