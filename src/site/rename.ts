import { quoted } from '../oci/quoted.js';
import { AirliftError, isAirliftError, maxProblemsShown, problemsError } from '../errors.js';
import { dockerHubNames, formatRepository, isRegistry, type Repository } from '../oci/reference.js';

/** A rule that gives matching repositories another path at the site. */
export interface RenameRule {
  /** The rule as written. */
  readonly text: string;
  /** Returns the new path; undefined if the repository does not match. */
  apply(source: Repository): string | undefined;
}

const maxRuleLength = 600;
const maxMapLength = 4 * 1024 * 1024;

function fail(text: string, happened: string): never {
  throw new AirliftError('usage', `parse rename rule ${quoted(text)}: ${happened}`, {
    hint: "example: 'docker.io/library/*=mirror/*'",
  });
}

/** Completes Docker's short names: `rancher/*` becomes `docker.io/rancher/*`. */
function completePattern(text: string, pattern: string): string {
  const parts = pattern.split('/');
  const first = parts[0] ?? '';
  if (first.includes('*')) {
    if (parts.length === 1 && first !== '**') fail(text, 'the pattern names no registry');
    return pattern;
  }
  const isHost = parts.length > 1 && (/[.:]/.test(first) || first === 'localhost');
  if (!isHost) return `docker.io/${parts.length === 1 ? 'library/' : ''}${pattern}`;
  if (!isRegistry(first)) fail(text, `${quoted(first)} is not a registry host`);
  return dockerHubNames.includes(first) ? ['docker.io', ...parts.slice(1)].join('/') : pattern;
}

/** Compiles the pattern to a regular expression with one group per wildcard; also returns the wildcards in order. */
function compilePattern(
  text: string,
  pattern: string,
): { readonly regex: RegExp; readonly wildcards: string[] } {
  const wildcards: string[] = [];
  const parts = pattern.split('/').map((part, at) => {
    if (part === '**') {
      if (wildcards.includes('**')) fail(text, 'the pattern has more than one **');
      wildcards.push('**');
      return '(.+)';
    }
    const pieces = part.split('*');
    // With one wildcard per component, matching takes linear time.
    if (pieces.length > 2) fail(text, 'a component of the pattern has more than one *');
    const allowed = at === 0 ? /^[A-Za-z0-9.:_-]*$/ : /^[a-z0-9._-]*$/;
    if (part === '' || !pieces.every((piece) => allowed.test(piece)))
      fail(
        text,
        at > 0 && /[:@]/.test(part)
          ? 'only repositories can be renamed; leave out the tag or digest'
          : `${quoted(part)} is not valid in a repository`,
      );
    if (pieces.length === 2) wildcards.push('*');
    return pieces.map((piece) => piece.replaceAll('.', '\\.')).join('([^/]+)');
  });
  return { regex: new RegExp(`^${parts.join('/')}$`), wildcards };
}

/** Compiles the target to literals and, between them, the numbers of the pattern's groups. */
function compileTarget(text: string, target: string, wildcards: readonly string[]): (string | number)[] {
  const counts = { '*': 0, '**': 0 };
  const pieces: (string | number)[] = [];
  for (const piece of target.split(/(\*+)/)) {
    if (!piece.startsWith('*')) {
      if (!/^[a-z0-9._/-]*$/.test(piece)) fail(text, `${quoted(piece)} is not valid in a repository path`);
      pieces.push(piece);
      continue;
    }
    if (piece !== '*' && piece !== '**') fail(text, `${piece} is not a wildcard`);
    const nth = counts[piece]++;
    const group = wildcards.flatMap((wildcard, at) => (wildcard === piece ? [at] : []))[nth];
    if (group === undefined) fail(text, `the target has more ${piece} than the pattern`);
    pieces.push(group);
  }
  return pieces;
}

/**
 * Parses `PATTERN=TARGET`. The pattern is `registry/repository`; Docker's short names are completed. `*` matches one or more
 * characters of one component; `**`, a component of its own, matches one or more components. In the target, each wildcard is
 * replaced by the match of the same wildcard in the pattern, counted from the left.
 * @throws AirliftError `usage` if the rule is invalid
 */
export function parseRenameRule(text: string): RenameRule {
  if (text.length > maxRuleLength) fail(text, 'too long');
  const sides = text.split('=').map((side) => side.trim());
  const [pattern = '', target = ''] = sides;
  if (sides.length !== 2 || pattern === '' || target === '') fail(text, 'not PATTERN=TARGET');
  const { regex, wildcards } = compilePattern(text, completePattern(text, pattern));
  const pieces = compileTarget(text, target, wildcards);
  return {
    text,
    apply: (source) => {
      const match = regex.exec(formatRepository(source));
      if (match === null) return undefined;
      return pieces.map((piece) => (typeof piece === 'number' ? (match[piece + 1] ?? '') : piece)).join('');
    },
  };
}

/**
 * Parses a map file: one rename rule per line, with `=` or a space between pattern and target. Ignores blank lines and `#`
 * comments.
 * @param file name in messages
 * @throws AirliftError `usage` with all invalid lines and their numbers
 */
export function parseNameMap(text: string, file: string): RenameRule[] {
  if (text.length > maxMapLength) throw new AirliftError('usage', `read ${file}: too large for a map file`);
  const rules: RenameRule[] = [];
  const problems: string[] = [];
  let count = 0;
  text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .forEach((line, at) => {
      const entry = line
        .trim()
        .replace(/(?:^|\s)#.*$/, '')
        .trimEnd();
      if (entry === '') return;
      try {
        rules.push(parseRenameRule(entry.includes('=') ? entry : entry.replace(/\s+/, '=')));
      } catch (error) {
        if (!isAirliftError(error, 'usage')) throw error;
        if (++count <= maxProblemsShown) problems.push(`${file}:${at + 1}: ${error.message}`);
      }
    });
  if (count > 0) throw problemsError(`read ${file}`, problems, count);
  return rules;
}
