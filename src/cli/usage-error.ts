import type { Argv } from 'yargs';
import { AirliftError } from '../errors.js';
import { quoted } from '../oci/quoted.js';
import { commandNames } from './command-names.js';
import { kebab, knownFlags, longName } from './values.js';

/** Counts the edits that turn one word into another; a swap of neighbours is one edit (optimal string alignment distance). */
function distance(from: string, to: string): number {
  let before: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let row = 1; row <= from.length; row++) {
    const next = [row];
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      const swapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      next[column] = Math.min(
        (last[column - 1] ?? 0) + (same ? 0 : 1),
        (last[column] ?? 0) + 1,
        (next[column - 1] ?? 0) + 1,
        swapped && row > 1 && column > 1 ? (before[column - 2] ?? 0) + 1 : Infinity,
      );
    }
    [before, last] = [last, next];
  }
  return last[to.length] ?? 0;
}

/** Returns the most similar word, if at most a third of its letters differ or `word` is its beginning. */
function nearest(word: string, words: Iterable<string>): string | undefined {
  let best: { word: string; changes: number } | undefined;
  for (const one of words) {
    const isPrefix = word.length > 2 && one.startsWith(word);
    const changes = isPrefix ? 0.5 : distance(word, one);
    if (changes <= Math.max(1, one.length / 3) && changes < (best?.changes ?? Infinity))
      best = { word: one, changes };
  }
  return best?.word;
}

/** Returns the command that a command line names, such as `index create` or `export`; empty if it names none. */
function commandOf(args: readonly string[]): string {
  const words = args.filter((arg) => !arg.startsWith('-'));
  const two = words.slice(0, 2).join(' ');
  return commandNames.find((name) => name === two) ?? commandNames.find((name) => name === words[0]) ?? '';
}

function unknownWord(names: readonly string[], args: readonly string[], parser: Argv): AirliftError {
  const command = commandOf(args);
  const help = `airlift ${command === '' ? '' : `${command} `}--help`;
  const prefix = command === '' ? 'airlift' : command;
  const flag = args.find((arg) => {
    const [, name = ''] = /^--?([^=]*)/.exec(arg) ?? [];
    const positive = name.replace(/^no-/, '');
    return arg.startsWith('-') && arg !== '-' && names.some((one) => [name, positive].includes(kebab(one)));
  });
  // yargs reads `-platform` as a group of short flags.
  const short = args.find((arg) => /^-[a-z][a-z-]+/i.test(arg) && names.includes(arg.charAt(1)));
  const argument = flag ?? short;
  if (argument !== undefined) {
    const name = argument.replace(/^-+/, '').replace(/=.*$/s, '');
    const known = Object.keys(knownFlags(parser).key).map(kebab);
    const meant = nearest(name, new Set(known.filter((one) => one.length > 1)));
    return new AirliftError('usage', `${prefix}: unknown flag ${quoted(argument.replace(/=.*$/s, ''))}`, {
      hint: meant === undefined ? help : `--${meant}; or see ${help}`,
    });
  }
  const [first = ''] = names;
  if (command !== '' && command !== 'index')
    return new AirliftError('usage', `${command}: too many arguments; got ${quoted(first)}`, { hint: help });
  const all = commandNames.filter((name) => name.includes(' ') === (command === 'index'));
  const meant = nearest(first, new Set(all.map((name) => name.replace('index ', ''))));
  return new AirliftError('usage', `${prefix}: unknown command ${quoted(first)}`, {
    hint: meant === undefined ? help : `airlift ${command === '' ? '' : 'index '}${meant}; or see ${help}`,
  });
}

/** Converts a usage message of yargs to an airlift error with a hint. */
export function usageError(message: string, args: readonly string[], parser: Argv): AirliftError {
  const [, names] = /^Unknown (?:arguments?|commands?): (.*)$/s.exec(message) ?? [];
  if (names !== undefined) return unknownWord(names.split(', '), args, parser);
  const command = commandOf(args);
  const prefix = command === '' ? '' : `${command}: `;
  const hint = `airlift ${command === '' ? '' : `${command} `}--help`;
  const [, flag] = /^Not enough arguments following: (.*)$/s.exec(message) ?? [];
  if (flag !== undefined)
    return new AirliftError(
      'usage',
      `${prefix}--${longName(kebab(flag), knownFlags(parser))} needs a value`,
      { hint },
    );
  const [, missing] = /^Missing required arguments?: (.*)$/s.exec(message) ?? [];
  if (missing !== undefined) {
    const flags = missing.split(', ').map((name) => `--${kebab(name)}`);
    return new AirliftError('usage', `${prefix}${flags.join(' and ')} missing`, { hint });
  }
  const [, got, min] = /^Not enough non-option arguments: got (\d+), need at least (\d+)/.exec(message) ?? [];
  if (got !== undefined)
    return new AirliftError('usage', `${prefix}not enough arguments; got ${got}, want at least ${min}`, {
      hint,
    });
  const invalid = /Argument: ([\w-]+), Given: (.*), Choices: (.*)/s.exec(message);
  if (invalid !== null) {
    const [, name = '', given = '', choices = ''] = invalid;
    return new AirliftError(
      'usage',
      `${prefix}--${kebab(name)}: got ${given}, want one of ${choices.replaceAll('"', '')}`,
      {
        hint,
      },
    );
  }
  const [text = '', ...lines] = message.split('\n').filter((line) => line.trim() !== '');
  return new AirliftError('usage', `${prefix}${text.charAt(0).toLowerCase()}${text.slice(1)}`, {
    lines,
    hint,
  });
}
