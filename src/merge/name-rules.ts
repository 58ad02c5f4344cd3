import { AirliftError, firstNames, isAirliftError } from '../errors.js';
import { formatReference, isTag, parseReference, type Reference } from '../oci/reference.js';
import { formatPlatform, samePlatform } from '../oci/platform.js';
import { quoted } from '../oci/quoted.js';
import { familiarName } from '../archive/read/image-names.js';
import {
  architecturePattern,
  platformOfFileName,
  type NamedPlatform,
} from '../archive/platform/decide-platform.js';

/** Removes the architecture from image names, so that images whose names differ only in it get the same name. */
export interface NameRule {
  /** The rule as given. */
  readonly text: string;
  /** @returns undefined where the rule does not match */
  apply(reference: Reference): MergedName | undefined;
}

/** The result of applying a rule to a name. */
export interface MergedName {
  readonly reference: Reference;
  /** The platform in the name; undefined where the rule has no `{arch}`. */
  readonly platform: NamedPlatform | undefined;
}

/** The rules of `auto`: the usual ways to put an architecture into a name. */
const usualRules = [
  '*:{tag}-{arch}=*:{tag}',
  '*:{arch}-{tag}=*:{tag}',
  '*:{arch}=*:latest',
  '*-{arch}:{tag}=*:{tag}',
  '{arch}/*:{tag}=*:{tag}',
];

const maxRuleLength = 600;
/** Placeholders and the regular expressions they match. */
const placeholders: ReadonlyMap<string, string> = new Map([
  ['*', '(?<rest>.+?)'],
  ['{tag}', '(?<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*?)'],
  ['{arch}', `(?<arch>${architecturePattern})`],
]);
const groups: ReadonlyMap<string, string> = new Map([
  ['*', 'rest'],
  ['{tag}', 'tag'],
  ['{arch}', 'arch'],
]);

function fail(text: string, happened: string): never {
  throw new AirliftError('usage', `parse \`archives.mergeNames\` ${quoted(text)}: ${happened}`, {
    hint: "use the form '*:{tag}-{arch}=*:{tag}', where * matches a part of the repository",
  });
}

/** Splits one side of a rule at its placeholders, which become parts too. */
function partsOf(text: string, side: string): string[] {
  const parts = side.split(/(\*|\{[^}]*\})/).filter((part) => part !== '');
  for (const part of parts) {
    if (placeholders.has(part)) continue;
    if (!/^[A-Za-z0-9._:/-]+$/.test(part)) fail(text, `${quoted(part)} is not allowed in a name`);
  }
  return parts;
}

/** Appends `:{tag}` to a side without a tag. */
function withTag(side: string): string {
  return side.lastIndexOf(':') > side.lastIndexOf('/') ? side : `${side}:{tag}`;
}

/**
 * Parses `PATTERN=TARGET`: image names with `*` for a part of the repository, `{tag}` for a part of the tag and `{arch}` for an
 * architecture, each at most once. A pattern also matches Docker's short names.
 * @throws AirliftError `usage` where the rule is malformed
 */
function parseRule(text: string): NameRule {
  if (text.length > maxRuleLength) fail(text, 'too long');
  const [pattern = '', target = '', ...others] = text.split('=').map((side) => side.trim());
  if (others.length > 0 || pattern === '' || target === '') fail(text, 'not PATTERN=TARGET');
  const parts = partsOf(text, withTag(pattern));
  const wanted = partsOf(text, withTag(target));
  if (
    new Set(parts.filter((part) => placeholders.has(part))).size <
    parts.filter((part) => placeholders.has(part)).length
  )
    fail(text, 'the pattern has a placeholder twice');
  for (const part of wanted)
    if (placeholders.has(part) && !parts.includes(part))
      fail(text, `the target has ${part}, which the pattern lacks`);
  const regex = new RegExp(
    `^${parts.map((part) => placeholders.get(part) ?? part.replaceAll(/[.]/g, '\\.')).join('')}$`,
  );
  return {
    text,
    apply: (reference) => {
      if (reference.tag === undefined || reference.digest !== undefined) return undefined;
      const full = formatReference(reference);
      const match = [full, full.replace(/^docker\.io\//, ''), familiarName(full)]
        .map((name) => regex.exec(name))
        .find((found) => found !== null);
      if (match === undefined || match === null) return undefined;
      const name = wanted.map((part) => match.groups?.[groups.get(part) ?? ''] ?? part).join('');
      const { arch } = match.groups ?? {};
      return {
        reference: renamed(text, full, name),
        platform: arch === undefined ? undefined : platformOfFileName(arch),
      };
    },
  };
}

function renamed(text: string, old: string, name: string): Reference {
  try {
    const reference = parseReference(name);
    if (isTag(reference.tag ?? '')) return reference;
  } catch (error) {
    if (!isAirliftError(error, 'usage')) throw error;
  }
  throw new AirliftError(
    'usage',
    `\`archives.mergeNames\` ${quoted(text)}: turns ${old} into ${quoted(name)}, which is not a valid name`,
  );
}

/** Rules for image names; the first that matches applies. */
export class NameRules {
  readonly #rules: NameRule[] = [];
  readonly #usual: NameRule[] = [];
  /** Rules that have matched no name yet. */
  readonly #unused = new Set<string>();

  /**
   * @param texts rules, or `auto` for the usual ones
   * @throws AirliftError `usage` where a rule is malformed
   */
  constructor(texts: readonly string[]) {
    for (const text of texts) {
      if (text === 'auto') this.#usual = usualRules.map(parseRule);
      else this.#rules.push(parseRule(text));
      this.#unused.add(text);
    }
  }

  /** Returns the platform in an image's names; undefined where they state none, or several. */
  platformOf(names: readonly string[]): NamedPlatform | undefined {
    // Signatures and the like carry an image's digest as tag and have no platform.
    const references = names.map(parseReference).filter(({ tag }) => !/^sha256-[0-9a-f]{64}/.test(tag ?? ''));
    const found = references.flatMap((reference) => this.#apply(reference)?.platform ?? []);
    const [first, ...others] = found;
    const isSame = others.every(
      ({ platform }) => first !== undefined && samePlatform(platform, first.platform),
    );
    return isSame ? first : undefined;
  }

  /**
   * Returns the new names of images, by their old names. `auto` renames only where several architectures get the same name.
   * @throws AirliftError `usage` where a rule matches no name
   */
  merge(references: readonly Reference[]): ReadonlyMap<string, Reference> {
    const names = new Map<string, Reference>();
    const usual = new Map<string, { name: string; merged: MergedName }[]>();
    for (const reference of references) {
      const name = formatReference(reference);
      const rule = this.#rules.find((one) => one.apply(reference) !== undefined);
      const merged = rule?.apply(reference);
      if (rule !== undefined && merged !== undefined) {
        this.#unused.delete(rule.text);
        names.set(name, merged.reference);
        continue;
      }
      const guess = this.#apply(reference);
      if (guess === undefined) continue;
      const key = formatReference(guess.reference);
      usual.set(key, [...(usual.get(key) ?? []), { name, merged: guess }]);
    }
    for (const same of usual.values()) {
      const platforms = same.flatMap(({ merged: { platform } }) => platform ?? []);
      if (new Set(platforms.map(({ platform }) => formatPlatform(platform))).size < 2) continue;
      this.#unused.delete('auto');
      for (const { name, merged } of same) names.set(name, merged.reference);
    }
    for (const text of this.#unused) {
      throw new AirliftError(
        'usage',
        `\`archives.mergeNames\` ${quoted(text)}: ${text === 'auto' ? 'no two names differ only in their architecture' : 'matches no name'}; got ${listOf(references)}`,
        { hint: 'omit or correct the rule: `siteNames` prints the names' },
      );
    }
    return names;
  }

  #apply(reference: Reference): MergedName | undefined {
    for (const rule of [...this.#rules, ...this.#usual]) {
      const merged = rule.apply(reference);
      if (merged !== undefined) return merged;
    }
    return undefined;
  }
}

const maxNamesShown = 10;

function listOf(references: readonly Reference[]): string {
  return firstNames(
    references.map((reference) => familiarName(formatReference(reference))),
    maxNamesShown,
  );
}
