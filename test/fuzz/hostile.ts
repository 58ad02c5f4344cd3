/** Hostile input for property tests: valid documents with a few edits, of fixed seeds, so that every run tests the same. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isAirliftError, type ErrorCode } from '../../src/errors.js';

/** Text that parsers may stumble over: control characters, names of properties, numbers at limits, broken Unicode. */
const stumblingBlocks = [
  ...['\0', '\n', '\r\n', '\t', ' ', '\u001b[31m', '\u202e', '\ufeff', '\ud800', 'é', '𝌆'],
  ...['__proto__', 'constructor', 'toString', 'null', 'true', 'NaN', 'undefined'],
  ...['-1', '0', '1e999', '9007199254740993', '99999999999999999999', '0x10', '1.5'],
  ...[
    '"',
    "'",
    '\\',
    '/',
    '//',
    '..',
    '../',
    ':',
    '@',
    ',',
    ';',
    '=',
    '[',
    ']',
    '{',
    '}',
    '<',
    '>',
    '#',
    '%',
  ],
  ...['[]', '{}', '[null]', '""', '.', '-', '_', '+', '*', '&', '|', '!', '?', '~', '`'],
];

interface Edit {
  readonly kind: 'insert' | 'delete' | 'replace' | 'duplicate' | 'move' | 'cut' | 'repeat';
  /** Positions, as shares of the document. */
  readonly at: number;
  readonly to: number;
  readonly length: number;
  readonly word: string;
}

function editOf(words: readonly string[]): fc.Arbitrary<Edit> {
  return fc.record({
    kind: fc.constantFrom(
      'insert',
      'insert',
      'delete',
      'replace',
      'replace',
      'duplicate',
      'move',
      'cut',
      'repeat',
    ),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    to: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 80 })),
    word: fc.oneof(
      fc.constantFrom(...words, ...stumblingBlocks),
      fc.constantFrom(...words),
      fc.string({ maxLength: 3, unit: 'binary' }),
    ),
  });
}

function apply(text: string, { kind, at, to, length, word }: Edit): string {
  const [from, target] = [Math.floor(at * text.length), Math.floor(to * text.length)];
  const [before, part, after] = [
    text.slice(0, from),
    text.slice(from, from + length),
    text.slice(from + length),
  ];
  switch (kind) {
    case 'insert':
      return before + word + part + after;
    case 'delete':
      return before + after;
    case 'replace':
      return before + word + after;
    case 'duplicate':
      return before + part + part + after;
    case 'move':
      return (before + after).slice(0, target) + part + (before + after).slice(target);
    case 'cut':
      return before;
    case 'repeat':
      return before + word.repeat(500) + part + after;
  }
}

/**
 * Returns documents with up to four edits; some stay valid.
 * @param words that mean something to the parser
 */
export function edited(valid: fc.Arbitrary<string>, words: readonly string[]): fc.Arbitrary<string> {
  return fc
    .tuple(valid, fc.array(editOf(words), { maxLength: 4 }))
    .map(([text, edits]) => edits.reduce(apply, text));
}

/** Returns bytes with up to four edits, or with flipped bits. */
export function editedBytes(valid: fc.Arbitrary<Buffer>, words: readonly string[]): fc.Arbitrary<Buffer> {
  const inLatin1 = edited(
    valid.map((bytes) => bytes.toString('latin1')),
    words,
  ).map((text) => Buffer.from(text, 'latin1'));
  const flipped = fc
    .tuple(valid, fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(7)), { maxLength: 3 }))
    .map(([bytes, flips]) => {
      const changed = Buffer.from(bytes);
      for (const [share, bit] of flips) {
        const at = Math.min(changed.length - 1, Math.floor(share * changed.length));
        if (at >= 0) changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      }
      return changed;
    });
  return fc.oneof(inLatin1, flipped);
}

/** Hexadecimal digests. */
export const digests = fc
  .tuple(fc.constantFrom('sha256', 'sha512'), fc.nat(0xffffff))
  .map(([algorithm, number]) => {
    const length = algorithm === 'sha256' ? 64 : 128;
    return `${algorithm}:${number.toString(16).padStart(length, 'abc0')}`;
  });

/** How a parser took an input. */
export interface Outcome<T> {
  /** The value; undefined if the parser refused. */
  readonly value?: T;
}

/**
 * Runs a parser: returns its value, or nothing if it refuses with one of `codes`. Any other error is a failure.
 */
export async function parsed<T>(
  parse: () => T | Promise<T>,
  ...codes: [ErrorCode, ...ErrorCode[]]
): Promise<Outcome<T>> {
  try {
    return { value: await parse() };
  } catch (error) {
    if (isAirliftError(error, ...codes)) return {};
    throw error;
  }
}

/**
 * Gives a parser `runs` inputs. `check` returns whether the parser accepted the input, and asserts that an accepted value keeps its
 * promises. The inputs must include both accepted and refused ones, otherwise the test proves little.
 */
export async function everyInput<T>(
  inputs: fc.Arbitrary<T>,
  check: (input: T) => Promise<boolean> | boolean,
  { seed, runs = 1000 }: { seed: number; runs?: number },
): Promise<void> {
  let accepted = 0;
  let total = 0;
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      total++;
      if (await check(input)) accepted++;
    }),
    { seed, numRuns: runs },
  );
  assert.ok(accepted > total / 50 && accepted < total - total / 50, `${accepted} of ${total} are accepted`);
}

/** Checks a property of valid input, which holds for every value. */
export async function everyValue<T>(
  values: fc.Arbitrary<T>,
  check: (value: T) => Promise<void> | void,
  { seed, runs = 300 }: { seed: number; runs?: number },
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(values, async (value) => check(value)),
    { seed, numRuns: runs },
  );
}
