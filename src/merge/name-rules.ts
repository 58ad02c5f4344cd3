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

/** Takes the architecture out of image names, so that images that differ in it alone get one name. */
export interface NameRule {
  /** As it was written. */
  readonly text: string;
  /** @returns undefined where the name does not fit */
  apply(reference: Reference): MergedName | undefined;
}

/** What a rule makes of an image's name. */
export interface MergedName {
  readonly reference: Reference;
  /** What the architecture in the name tells; undefined where the rule has no `{arch}`. */
  readonly platform: NamedPlatform | undefined;
}

/** The usual ways to put an architecture into a name, which `auto` stands for. */
const usualRules = [
  '*:{tag}-{arch}=*:{tag}',
  '*:{arch}-{tag}=*:{tag}',
  '*:{arch}=*:latest',
  '*-{arch}:{tag}=*:{tag}',
  '{arch}/*:{tag}=*:{tag}',
];

const maxRuleLength = 600;
/** What may stand for something, and what it stands for. */
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

/** Splits at the placeholders, which stay as parts. */
function partsOf(text: string, side: string): string[] {
  const parts = side.split(/(\*|\{[^}]*\})/).filter((part) => part !== '');
  for (const part of parts) {
    if (placeholders.has(part)) continue;
    if (!/^[A-Za-z0-9._:/-]+$/.test(part)) fail(text, `${quoted(part)} is not allowed in a name`);
  }
  return parts;
}

/** The side with `:{tag}` behind it, where it names no tag. */
function withTag(side: string): string {
  return side.lastIndexOf(':') > side.lastIndexOf('/') ? side : `${side}:{tag}`;
}

/**
 * Reads `PATTERN=TARGET`, names of images with `*` for a part of the repository, `{tag}` for a part of the tag and `{arch}` for an
 * architecture, each at most once. Docker's short names fit too.
 * @throws AirliftError `usage` that says what is wrong with the rule
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

/** Rules for names of images; the first that fits counts. */
export class NameRules {
  readonly #rules: NameRule[] = [];
  readonly #usual: NameRule[] = [];
  /** Rules that have fitted no name so far. */
  readonly #unused = new Set<string>();

  /**
   * @param texts rules, or `auto` for the usual ones
   * @throws AirliftError `usage` that says what is wrong with a rule
   */
  constructor(texts: readonly string[]) {
    for (const text of texts) {
      if (text === 'auto') this.#usual = usualRules.map(parseRule);
      else this.#rules.push(parseRule(text));
      this.#unused.add(text);
    }
  }

  /** What the architecture in an image's names tells; undefined where they tell none, or several. */
  platformOf(names: readonly string[]): NamedPlatform | undefined {
    // What is said of an image, such as its signature, runs nowhere.
    const references = names.map(parseReference).filter(({ tag }) => !/^sha256-[0-9a-f]{64}/.test(tag ?? ''));
    const found = references.flatMap((reference) => this.#apply(reference)?.platform ?? []);
    const [first, ...others] = found;
    const isSame = others.every(
      ({ platform }) => first !== undefined && samePlatform(platform, first.platform),
    );
    return isSame ? first : undefined;
  }

  /**
   * What images are to be called, by their names. What `auto` stands for renames only where several architectures get one name.
   * @throws AirliftError `usage` where a rule fits no name
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
