import { AirliftError } from '../../errors.js';
import { quoted } from '../../oci/quoted.js';
import { formatRepository, isRegistry, isRepositoryPath, type Repository } from '../../oci/reference.js';
import type { Mirror, MirrorRule } from './options.js';

/** The rule that applies to a name. */
export interface MatchedRule {
  readonly rule: MirrorRule;
  /** The part of the name after the prefix, without a leading slash. */
  readonly rest: string;
}

/** Returns how many characters of `name` a rule's prefix covers, or -1 if the rule does not apply. */
function matchedLength(prefix: string, name: Repository): number {
  const { registry } = name;
  if (prefix === '*') return registry.length;
  if (prefix.startsWith('*.'))
    return registry.replace(/:\d+$/, '').endsWith(prefix.slice(1)) ? registry.length : -1;
  const full = formatRepository(name);
  return full === prefix || full.startsWith(`${prefix}/`) ? prefix.length : -1;
}

/**
 * Returns the rule with the longest matching prefix; of equal prefixes the later rule (containers-registries.conf(5), "Choosing a
 * [[registry]] TOML table").
 */
export function matchRule(rules: readonly MirrorRule[], name: Repository): MatchedRule | undefined {
  let best: { rule: MirrorRule; length: number } | undefined;
  const rank = (prefix: string): number => (prefix === '*' ? 0 : prefix.length);
  for (const rule of rules) {
    const length = matchedLength(rule.prefix, name);
    if (length >= 0 && (best === undefined || rank(rule.prefix) >= rank(best.rule.prefix)))
      best = { rule, length };
  }
  if (best === undefined) return undefined;
  return { rule: best.rule, rest: formatRepository(name).slice(best.length + 1) };
}

/**
 * Splits `host[:port][/path]`.
 * @throws AirliftError `input` if the text has another form
 */
export function splitLocation(location: string, origin: string): { host: string; path: string } {
  const slash = location.indexOf('/');
  const host = slash < 0 ? location : location.slice(0, slash);
  const path = slash < 0 ? '' : location.slice(slash + 1);
  if (isRegistry(host) && (path === '' || isRepositoryPath(path))) return { host, path };
  throw new AirliftError('input', `parse mirror ${quoted(location)} of ${origin}: not host[:port][/path]`);
}

/** Returns the path of a repository on a mirror. */
export function repositoryAt(mirror: Mirror, path: string, rest: string, name: Repository): string {
  for (const { from, to } of mirror.rewrites ?? []) {
    const pattern = new RegExp(from);
    if (pattern.test(name.repository))
      return [path, name.repository.replace(pattern, to)].filter(Boolean).join('/');
  }
  return [path, rest].filter(Boolean).join('/');
}

/**
 * Parses a mirror given on the command line: `REGISTRY[/PATH]=[http://|https://]HOST[:PORT][/PATH]`.
 * @throws AirliftError `usage`
 */
export function parseMirrorFlag(text: string): MirrorRule {
  const origin = '`mirrors`';
  const fail = (): never => {
    throw new AirliftError('usage', `parse mirror ${quoted(text)}: not registry=mirror`, {
      hint: 'use the form docker.io=mirror.corp:5000',
    });
  };
  const [prefix = '', target = '', ...rest] = text.split('=');
  const match = /^(?:(https?):\/\/)?([^\s]+?)\/*$/.exec(target);
  const [, scheme, location] = match ?? [];
  if (rest.length > 0 || location === undefined) return fail();
  try {
    splitLocation(location, origin);
    if (prefix !== '*') splitLocation(prefix.replace(/^\*\./, ''), origin);
  } catch {
    return fail();
  }
  return { prefix, mirrors: [{ location, scheme: scheme as 'http' | 'https' | undefined }], origin };
}
