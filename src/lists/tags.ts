import { Range, SemVer } from 'semver';
import { AirliftError } from '../errors.js';
import { isTag } from '../oci/reference.js';
import { parseRegex } from './regex.js';

/** Selects tags of a repository. */
export interface TagPattern {
  /** The pattern as written. */
  readonly text: string;
  matches(tag: string): boolean;
}

const maxRangeLength = 256;

/** Tags of signatures and other referrers of an image (cosign; distribution-spec, "Referrers Tag Schema"). */
const referrerTag = /^sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{128})(?:\.[a-z]+)?$/;

/**
 * Parses a tag as a version: `v1.28.3`, `1.28` (as 1.28.0). Tags cannot contain `+`, so publishers write build metadata as
 * `-k3s1`, `-rke2r1` (k3s, RKE2) or after `_` (Helm charts). Every other suffix, such as `-rc.1` or `-alpine`, is a prerelease as in
 * semver.
 */
function versionOfTag(tag: string): SemVer | undefined {
  const match = /^[vV]?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:(-[^_]*)?(?:_(.*))?)$/.exec(tag);
  if (match === null) return undefined;
  const [, major, minor, patch = '0', suffix = '', metadata] = match;
  const built = /^(.*?)-(k3s\d+|rke2r\d+)$/.exec(suffix);
  const prerelease = (built?.[1] ?? suffix).slice(1);
  const build = built?.[2] ?? metadata?.replaceAll('_', '-');
  const numbers = [major, minor, patch].map(Number).join('.');
  if (suffix === '-' || build === '') return undefined;
  try {
    return new SemVer(
      `${numbers}${prerelease === '' ? '' : `-${prerelease}`}${build === undefined ? '' : `+${build}`}`,
    );
  } catch {
    return undefined; // semver forbids an identifier such as 01
  }
}

function parseRange(text: string, whole: string): Range {
  // skopeo's lists join comparisons with commas, as Go's semver library does.
  const range = text.replaceAll(',', ' ').trim();
  try {
    if (range === '' || range.length > maxRangeLength || range.includes('!='))
      throw new TypeError('not a range');
    return new Range(range);
  } catch (cause) {
    throw new AirliftError(
      'usage',
      `parse tag pattern ${JSON.stringify(whole.slice(0, 300))}: not a version range`,
      {
        cause,
        hint: "example: 'semver:>=1.28 <1.31' or 'semver:~1.28 || ~1.30'",
      },
    );
  }
}

/**
 * Parses a tag pattern: `semver:RANGE` (npm's syntax), `regex:EXPRESSION` (matches anywhere in the tag, unless anchored), or `all`.
 * @throws AirliftError `usage` if the pattern has none of these forms, or is malformed
 */
export function parseTagPattern(text: string): TagPattern {
  if (text === 'all') return { text, matches: (tag) => !referrerTag.test(tag) };
  if (text.startsWith('regex:')) {
    const regex = parseRegex(text.slice('regex:'.length));
    return { text, matches: (tag) => !referrerTag.test(tag) && regex.test(tag) };
  }
  if (text.startsWith('semver:')) {
    const range = parseRange(text.slice('semver:'.length), text);
    return {
      text,
      matches: (tag) => {
        const version = versionOfTag(tag);
        return version !== undefined && range.test(version);
      },
    };
  }
  throw new AirliftError(
    'usage',
    `parse tag pattern ${JSON.stringify(text.slice(0, 300))}: unknown kind of pattern`,
    {
      hint: "examples: 'semver:>=1.28 <1.31', 'regex:^v3', 'all'",
    },
  );
}

/** Compares texts, with numbers in them by value: `v2` before `v10`. */
function compareNaturally(left: string, right: string): number {
  const lefts = left.split(/(\d+)/);
  const rights = right.split(/(\d+)/);
  for (let at = 0; at < Math.max(lefts.length, rights.length); at++) {
    const a = lefts[at] ?? '';
    const b = rights[at] ?? '';
    const [m, n] = at % 2 === 1 ? [a.replace(/^0+/, ''), b.replace(/^0+/, '')] : [a, b];
    if (at % 2 === 1 && m.length !== n.length) return m.length - n.length;
    if (m !== n) return m < n ? -1 : 1;
  }
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/** Compares tags: versions first, oldest first, then all others by name, with numbers by value. */
export function compareTags(left: string, right: string): number {
  const a = versionOfTag(left);
  const b = versionOfTag(right);
  if (a === undefined || b === undefined) {
    if (a === b) return compareNaturally(left, right);
    return a === undefined ? 1 : -1;
  }
  const unprefixed = (tag: string): string => tag.replace(/^[vV]/, '');
  return (
    a.compare(b) || compareNaturally(unprefixed(left), unprefixed(right)) || compareNaturally(left, right)
  );
}

/** Returns the matching tags, each once, in the order of `compareTags`. Skips texts of a registry that are not valid tags. */
export function selectTags(pattern: TagPattern, tags: Iterable<string>): string[] {
  const selected = new Set<string>();
  for (const tag of tags) if (isTag(tag) && pattern.matches(tag)) selected.add(tag);
  return [...selected].sort(compareTags);
}
