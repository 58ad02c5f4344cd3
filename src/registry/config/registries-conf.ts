import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { isAbsent } from '../../io/directories.js';
import { AirliftError, isAirliftError, messageOf } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { splitLocation } from './mirror-rules.js';
import type { Mirror, MirrorRule } from './options.js';

const maxSize = 1024 * 1024;

function fail(path: string, happened: string): never {
  throw new AirliftError('input', `parse ${path}: ${happened}`);
}

function textOf(table: Record<string, unknown>, name: string, path: string): string | undefined {
  const value = table[name];
  if (value === undefined) return undefined;
  return typeof value === 'string' ? value.replace(/\/+$/, '') : fail(path, `${name} is not a string`);
}

function flagOf(table: Record<string, unknown>, name: string, path: string): boolean {
  const value = table[name] ?? false;
  return typeof value === 'boolean' ? value : fail(path, `${name} is not a boolean`);
}

function tablesOf(value: unknown, name: string, path: string): Record<string, unknown>[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) fail(path, `${name} is not a list of tables`);
  return value.map((item: unknown) =>
    isObject(item) ? item : fail(path, `${name} is not a list of tables`),
  );
}

function mirrorOf(table: Record<string, unknown>, digestsOnly: boolean, path: string): Mirror {
  const location = textOf(table, 'location', path) ?? fail(path, 'a mirror has no location');
  splitLocation(location, path);
  const from = textOf(table, 'pull-from-mirror', path);
  const serves = { all: 'all', 'digest-only': 'digests', 'tag-only': 'tags' } as const;
  if (from !== undefined && !Object.hasOwn(serves, from))
    fail(path, `pull-from-mirror is ${JSON.stringify(from)}, want all, digest-only or tag-only`);
  return {
    location,
    insecure: flagOf(table, 'insecure', path),
    serves: from === undefined ? (digestsOnly ? 'digests' : 'all') : serves[from as keyof typeof serves],
  };
}

function ruleOf(table: Record<string, unknown>, path: string): MirrorRule {
  const location = textOf(table, 'location', path);
  const prefix = textOf(table, 'prefix', path) ?? location;
  if (prefix === undefined || prefix === '') return fail(path, 'a registry has neither prefix nor location');
  if (location !== undefined && location !== '') splitLocation(location, path);
  splitLocation(prefix.replace(/^\*\./, ''), path);
  const digestsOnly = flagOf(table, 'mirror-by-digest-only', path);
  return {
    prefix,
    location: location === '' || location === prefix ? undefined : location,
    insecure: flagOf(table, 'insecure', path),
    blocked: flagOf(table, 'blocked', path),
    mirrors: tablesOf(table['mirror'], 'registry.mirror', path).map((mirror) =>
      mirrorOf(mirror, digestsOnly, path),
    ),
    origin: path,
  };
}

/**
 * Reads the `[[registry]]` tables of a registries.conf (containers-registries.conf(5), version 2).
 * @param path name of the file, for messages
 * @throws AirliftError `input` if the file is malformed, `unsupported` for the obsolete version 1
 */
export function parseRegistriesConf(text: string, path: string): MirrorRule[] {
  let conf: Record<string, unknown>;
  try {
    conf = parse(text);
  } catch (cause) {
    throw new AirliftError('input', `parse ${path}: ${messageOf(cause).split('\n')[0]}`, { cause });
  }
  if (isObject(conf['registries'])) {
    throw new AirliftError('unsupported', `parse ${path}: version 1 of registries.conf is not supported`, {
      hint: 'use [[registry]] tables (containers-registries.conf(5))',
    });
  }
  return tablesOf(conf['registry'], 'registry', path).map((table) => ruleOf(table, path));
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    if (text.length > maxSize) throw new AirliftError('input', `read ${path}: larger than ${maxSize} bytes`);
    return text;
  } catch (cause) {
    if (await isAbsent(path, cause)) return undefined;
    if (cause instanceof AirliftError) throw cause;
    throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
  }
}

async function listDropIns(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names
      .filter((name) => name.endsWith('.conf'))
      .sort()
      .map((name) => join(directory, name));
  } catch (cause) {
    if (await isAbsent(directory, cause)) return [];
    throw new AirliftError('io', `read ${directory}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Reads registries.conf files as podman and skopeo do: the first of `files` that exists, then every `*.conf` of `directories` in
 * alphabetical order. A later table replaces an earlier one with the same prefix.
 * @param warn called for each file that this user may not read; without it such a file is an error
 * @throws AirliftError `input`, `io` or `unsupported`
 */
export async function readRegistriesConf(
  files: readonly string[],
  directories: readonly string[],
  warn?: (message: string) => void,
): Promise<MirrorRule[]> {
  const rules = new Map<string, MirrorRule>();
  const orWarn = <T>(fallback: T) => {
    return (error: unknown): T => {
      if (warn === undefined || !isAirliftError(error, 'io')) throw error;
      warn(`${error.message}; it is ignored`);
      return fallback;
    };
  };
  const addRules = async (path: string): Promise<boolean> => {
    const text = await readIfPresent(path).catch(orWarn(undefined));
    if (text === undefined) return false;
    for (const rule of parseRegistriesConf(text, path)) {
      rules.delete(rule.prefix);
      rules.set(rule.prefix, rule);
    }
    return true;
  };
  for (const path of files) if (await addRules(path)) break;
  for (const directory of directories)
    for (const path of await listDropIns(directory).catch(orWarn<string[]>([]))) await addRules(path);
  return [...rules.values()];
}
