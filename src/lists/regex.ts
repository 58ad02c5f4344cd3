import { AirliftError } from '../errors.js';

/**
 * Regular expressions that run in time linear in the text, whatever the pattern: a list from somewhere else may hold one
 * that would keep a backtracking engine busy for years. All states are followed at once (Thompson's construction), which
 * is enough to say whether a text matches. The syntax is the part that JavaScript and Go's RE2 have in common.
 */
export interface LinearRegex {
  test(text: string): boolean;
}

const maxPatternLength = 512;
const maxStates = 5000;
const maxRepeat = 1000;
const maxNesting = 50;

/** Characters by code, as inclusive ranges. */
interface CharSet {
  readonly ranges: readonly (readonly [number, number])[];
  readonly negated: boolean;
}

type Node =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'begin' | 'end' }
  | { readonly kind: 'sequence' | 'choice'; readonly parts: readonly Node[] }
  | { readonly kind: 'repeat'; readonly part: Node; readonly min: number; readonly max: number };

const maxCode = 0xffff;
const digits: CharSet['ranges'] = [[48, 57]];
const word: CharSet['ranges'] = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const space: CharSet['ranges'] = [
  [9, 13],
  [32, 32],
];

function complement(ranges: CharSet['ranges']): CharSet['ranges'] {
  const result: (readonly [number, number])[] = [];
  let next = 0;
  for (const [from, to] of ranges) {
    if (from > next) result.push([next, from - 1]);
    next = to + 1;
  }
  return [...result, [next, maxCode]];
}

const classes: ReadonlyMap<string, CharSet['ranges']> = new Map([
  ['d', digits],
  ['D', complement(digits)],
  ['w', word],
  ['W', complement(word)],
  ['s', space],
  ['S', complement(space)],
]);

class PatternParser {
  #at = 0;
  #nesting = 0;
  readonly #ignoreCase: boolean;

  constructor(readonly pattern: string) {
    this.#ignoreCase = pattern.startsWith('(?i)');
    if (this.#ignoreCase) this.#at = 4;
  }

  fail(happened: string): never {
    throw new AirliftError(
      'usage',
      `parse regular expression ${JSON.stringify(this.pattern.slice(0, 100))}: ${happened}`,
    );
  }

  parse(): Node {
    const node = this.#choice();
    if (this.#at < this.pattern.length) this.fail('a ")" that closes nothing');
    return node;
  }

  #take(text: string): boolean {
    if (!this.pattern.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #choice(): Node {
    const parts = [this.#sequence()];
    while (this.#take('|')) parts.push(this.#sequence());
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : { kind: 'choice', parts };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    for (;;) {
      const next = this.pattern[this.#at];
      if (next === undefined || next === '|' || next === ')') return { kind: 'sequence', parts };
      parts.push(this.#repeated(this.#atom(next)));
    }
  }

  #atom(next: string): Node {
    this.#at++;
    switch (next) {
      case '^':
        return { kind: 'begin' };
      case '$':
        return { kind: 'end' };
      case '.':
        return { kind: 'set', set: { ranges: [], negated: true } };
      case '[':
        return { kind: 'set', set: this.#set() };
      case '\\':
        return { kind: 'set', set: { ranges: this.#escape(), negated: false } };
      case '(':
        return this.#group();
      case '*':
      case '+':
      case '?':
        return this.fail(`"${next}" repeats nothing`);
      case '{':
      case '}':
      case ']':
        return this.fail(`"${next}" has to be written "\\${next}"`);
      default:
        return { kind: 'set', set: { ranges: this.#char(next.charCodeAt(0)), negated: false } };
    }
  }

  #group(): Node {
    if (this.#take('?') && !this.#take(':'))
      this.fail('"(?" is only supported as "(?:" and, at the start, "(?i)"');
    if (++this.#nesting > maxNesting) this.fail('nested too deep');
    const node = this.#choice();
    if (!this.#take(')')) this.fail('a "(" is not closed');
    this.#nesting--;
    return node;
  }

  #repeated(part: Node): Node {
    const next = this.pattern[this.#at];
    const counted = /^\{(\d{1,4})(,(\d{1,4})?)?\}/.exec(this.pattern.slice(this.#at));
    if (next !== '*' && next !== '+' && next !== '?' && counted === null) return part;
    this.#at += counted?.[0].length ?? 1;
    this.#take('?'); // lazy or greedy makes no difference to whether something matches
    let min = next === '+' ? 1 : 0;
    let max = next === '?' ? 1 : Infinity;
    if (counted !== null) {
      min = Number(counted[1]);
      max = counted[2] === undefined ? min : Number(counted[3] ?? Infinity);
    }
    if (min > maxRepeat || (max !== Infinity && max > maxRepeat) || min > max)
      this.fail('a repeat count is out of range');
    if (/^(?:[*+?]|\{\d)/.test(this.pattern.slice(this.#at))) this.fail('a repeat is repeated');
    return { kind: 'repeat', part, min, max };
  }

  /** A character, in both cases where case is ignored. */
  #char(code: number): CharSet['ranges'] {
    if (!this.#ignoreCase) return [[code, code]];
    const text = String.fromCharCode(code);
    return [text.toLowerCase(), text.toUpperCase()].map(
      (one) => [one.charCodeAt(0), one.charCodeAt(0)] as const,
    );
  }

  #escape(): CharSet['ranges'] {
    const next = this.pattern[this.#at++] ?? this.fail('it ends in "\\"');
    const named = classes.get(next);
    if (named !== undefined) return named;
    if (/[A-Za-z0-9]/.test(next)) this.fail(`"\\${next}" is not supported`);
    return this.#char(next.charCodeAt(0));
  }

  #set(): CharSet {
    const negated = this.#take('^');
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take(']')) {
      const from = this.pattern[this.#at++] ?? this.fail('a "[" is not closed');
      if (from === '[' && /^[:.=]/.test(this.pattern.slice(this.#at)))
        this.fail('"[:" classes are not supported');
      if (from === '\\') {
        ranges.push(...this.#escape());
        continue;
      }
      const to = /^-[^\]\\]/.test(this.pattern.slice(this.#at)) ? this.pattern[this.#at + 1] : undefined;
      if (to === undefined) {
        ranges.push(...this.#char(from.charCodeAt(0)));
        continue;
      }
      this.#at += 2;
      if (to < from) this.fail(`the range ${from}-${to} is the wrong way round`);
      ranges.push([from.charCodeAt(0), to.charCodeAt(0)]);
      if (!this.#ignoreCase) continue;
      for (let code = from.charCodeAt(0); code <= to.charCodeAt(0); code++) ranges.push(...this.#char(code));
    }
    if (ranges.length === 0) this.fail('an empty "[]"');
    return { ranges, negated };
  }
}

/** One state: takes a character, goes on without one, or accepts. */
type State =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'split'; first: number; second: number }
  | { readonly kind: 'begin' | 'end' | 'accept' };

function compile(node: Node, parser: PatternParser): State[] {
  const states: State[] = [];
  const add = (state: State): number => {
    if (states.length >= maxStates) parser.fail('too large once its repeats are written out');
    return states.push(state) - 1;
  };
  const split = (first: number, second: number): { first: number; second: number } => {
    const state = { kind: 'split' as const, first, second };
    add(state);
    return state;
  };
  const emit = (part: Node): void => {
    switch (part.kind) {
      case 'set':
      case 'begin':
      case 'end':
        add(part);
        return;
      case 'sequence':
        part.parts.forEach(emit);
        return;
      case 'choice': {
        const ends: { second: number; first: number }[] = [];
        part.parts.forEach((choice, at) => {
          const last = at === part.parts.length - 1;
          const fork = last ? undefined : split(states.length + 1, 0);
          emit(choice);
          if (!last) ends.push(split(0, 0));
          if (fork !== undefined) fork.second = states.length;
        });
        for (const end of ends) end.first = end.second = states.length;
        return;
      }
      case 'repeat': {
        for (let count = 0; count < part.min; count++) emit(part.part);
        if (part.max === Infinity) {
          const start = states.length;
          const fork = split(start + 1, 0);
          emit(part.part);
          split(start, start);
          fork.second = states.length;
          return;
        }
        const forks = [];
        for (let count = part.min; count < part.max; count++) {
          forks.push(split(states.length + 1, 0));
          emit(part.part);
        }
        for (const fork of forks) fork.second = states.length;
      }
    }
  };
  emit(node);
  add({ kind: 'accept' });
  return states;
}

function holds(set: CharSet, code: number): boolean {
  return set.ranges.some(([from, to]) => code >= from && code <= to) !== set.negated;
}

/** Whether the states match anywhere in the text. */
function run(states: readonly State[], text: string): boolean {
  let current: number[] = [];
  let accepted = false;
  const seen = new Uint32Array(states.length);
  const enter = (start: number, at: number, into: number[]): void => {
    const stack = [start];
    for (let index = stack.pop(); index !== undefined; index = stack.pop()) {
      const state = states[index];
      if (state === undefined || seen[index] === at + 1) continue;
      seen[index] = at + 1;
      if (state.kind === 'accept') accepted = true;
      else if (state.kind === 'set') into.push(index);
      else if (state.kind === 'split') stack.push(state.second, state.first);
      else if (at === (state.kind === 'begin' ? 0 : text.length)) stack.push(index + 1);
    }
  };
  enter(0, 0, current);
  for (let at = 0; at < text.length && !accepted; at++) {
    const next: number[] = [];
    for (const index of current) {
      const state = states[index];
      if (state?.kind === 'set' && holds(state.set, text.charCodeAt(at))) enter(index + 1, at + 1, next);
    }
    enter(0, at + 1, next);
    current = next;
  }
  return accepted;
}

/**
 * Prepares a regular expression: literals, `.`, `[…]`, `\d \w \s`, groups, `|`, `* + ? {n,m}`, `^ $`, and `(?i)` at the start.
 * Back references and look-around can't run in linear time and are refused.
 * @throws AirliftError `usage` that says what in it is not supported or malformed
 */
export function parseRegex(pattern: string): LinearRegex {
  const parser = new PatternParser(pattern);
  if (pattern.length > maxPatternLength)
    parser.fail(`too long; got ${pattern.length} characters, want at most ${maxPatternLength}`);
  const states = compile(parser.parse(), parser);
  return { test: (text) => run(states, text) };
}
