import { Range, SemVer } from 'semver';
import { AirliftError } from '../errors.js';
import { isTag } from '../oci/reference.js';
import { parseRegex } from './regex.js';

/** Which of a repository's tags are wanted. */
export interface TagPattern {
  /** As it was written. */
  readonly text: string;
  matches(tag: string): boolean;
}

const maxRangeLength = 256;

/** The tags by which signatures and referrers hang on an image (cosign; distribution-spec, "Referrers Tag Schema"). */
const referrerTag = /^sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{128})(?:\.[a-z]+)?$/;

/**
 * Reads a tag as a version: `v1.28.3`, `1.28` (as 1.28.0). `+` can't stand in a tag, so that builds are published behind
 * `-k3s1`, `-rke2r1` (k3s, RKE2) or `_` (Helm charts): these are build metadata. Any other suffix, `-rc.1` as well as
 * `-alpine`, is a prerelease as semver says.
 */
export function versionOfTag(tag: string): SemVer | undefined {
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
    return undefined; // an identifier that semver forbids, such as 01
  }
}

function parseRange(text: string, whole: string): Range {
  // skopeo's lists join comparisons by a comma, as Go's semver library does.
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
        hint: "write it like 'semver:>=1.28 <1.31' or 'semver:~1.28 || ~1.30'",
      },
    );
  }
}

/**
 * Reads a tag pattern: `semver:RANGE` (the ranges of npm), `regex:EXPRESSION` (anywhere in the tag unless anchored), or `all`.
 * @throws AirliftError `usage` where it is none of them
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
    `parse tag pattern ${JSON.stringify(text.slice(0, 300))}: no known kind of pattern`,
    {
      hint: "write 'semver:>=1.28 <1.31', 'regex:^v3' or 'all'",
    },
  );
}

/** Compares texts with numbers in them by the numbers' size: `v2` before `v10`. */
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

/** Orders tags: versions first, oldest first, then all others by name with numbers by their size. */
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

/** The tags that a pattern takes, each once, in the order of `compareTags`. What a registry gives that is no tag is left out. */
export function selectTags(pattern: TagPattern, tags: Iterable<string>): string[] {
  const selected = new Set<string>();
  for (const tag of tags) if (isTag(tag) && pattern.matches(tag)) selected.add(tag);
  return [...selected].sort(compareTags);
}
