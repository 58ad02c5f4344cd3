import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AirliftError } from '../errors.js';
import {
  parseMirrorFlag,
  readRegistriesConf,
  readRegistriesYaml,
  type ExplicitCredentials,
  type HostSettings,
  type MirrorRule,
  type RateBudget,
  type RegistryOptions,
} from '../index.js';
import {
  authFilesOf,
  certsDirsOf,
  proxiesOf,
  registriesConfOf,
  rootsFileOf,
  stateFolder,
} from './environment.js';
import type { RegistryArguments } from './access-flags.js';
import { warnOnce } from './trace.js';
import { wholeNumber } from './flags.js';
import { parseDuration, parseSize } from './quantities.js';

/** Flags, configuration files and environment variables for access to registries. */

/** Matches the HOST= prefix of credentials. The host has a dot or a port, which tells it apart from a user name. */
const hostPrefix = /^((?:localhost|\[[0-9a-fA-F:]+\]|[\w-]+(?:\.[\w-]+)+)(?::\d+)?|[\w-]+:\d+)=(?=[^:]+:)/;

/** Parses `[HOST=]USER:PASSWORD`. Error messages never contain the value. */
function parseCredentials(text: string): ExplicitCredentials {
  const [prefix = '', registry] = hostPrefix.exec(text) ?? [];
  const rest = text.slice(prefix.length);
  const colon = rest.indexOf(':');
  if (colon > 0) return { username: rest.slice(0, colon), password: rest.slice(colon + 1), registry };
  throw new AirliftError('usage', '--creds: want [HOST=]USER:PASSWORD', {
    hint: 'use airlift login HOST, which reads the password from standard input',
  });
}

/**
 * Assigns credentials to registries. Credentials without a host need a command with a single registry: sent to several, they would
 * give one registry the password of another.
 */
function credentialsOf(
  values: readonly string[] | undefined,
  registries: Iterable<string>,
): Record<string, HostSettings> {
  const hosts: Record<string, HostSettings> = {};
  for (const credentials of (values ?? []).map(parseCredentials)) {
    const [host, ...others] =
      credentials.registry === undefined ? new Set(registries) : [credentials.registry];
    if (host === undefined || others.length > 0) {
      throw new AirliftError('usage', '--creds: the registry is ambiguous', {
        hint: `--creds ${host ?? 'HOST'}=USER:PASSWORD, or airlift login ${host ?? 'HOST'}`,
      });
    }
    hosts[host] = { credentials: { ...credentials, registry: host } };
  }
  return hosts;
}

function parseRateBudget(text: string | undefined): RateBudget | undefined {
  if (text === undefined) return undefined;
  const [, whenSpent, keep] = /^(wait|stop)(?::(\d{1,6}))?$/.exec(text) ?? [];
  if (whenSpent === undefined) {
    throw new AirliftError('usage', `--rate-budget: got ${JSON.stringify(text)}, want wait[:N] or stop[:N]`, {
      hint: '--rate-budget stop:20 keeps 20 pulls in reserve',
    });
  }
  return { whenSpent: whenSpent as 'wait' | 'stop', keep: keep === undefined ? undefined : Number(keep) };
}

/** Merges rules with the same prefix; mirrors of earlier lists come first. */
function mergeRules(...lists: (readonly MirrorRule[])[]): MirrorRule[] {
  const rules = new Map<string, MirrorRule>();
  for (const rule of lists.flat()) {
    const first = rules.get(rule.prefix);
    rules.set(
      rule.prefix,
      first === undefined
        ? rule
        : { ...rule, origin: first.origin, mirrors: [...first.mirrors, ...rule.mirrors] },
    );
  }
  return [...rules.values()];
}

/** Applies `--tls-verify=false` to all rules. As in skopeo, it skips certificate checks and allows plain HTTP. */
function makeInsecure(rules: readonly MirrorRule[]): MirrorRule[] {
  const all: MirrorRule = { prefix: '*', insecure: true, mirrors: [], origin: '--tls-verify=false' };
  return [all, ...rules.map((rule) => ({ ...rule, insecure: true }))];
}

async function readConfigFiles(
  args: RegistryArguments,
  env: NodeJS.ProcessEnv,
): Promise<{ rules: MirrorRule[]; hosts: Readonly<Record<string, HostSettings>> }> {
  const explicit = args.registriesConf;
  if (explicit !== undefined && !existsSync(explicit))
    throw new AirliftError('usage', `--registries-conf ${explicit}: no such file`);
  const { files, directories } =
    explicit === undefined ? registriesConfOf(env) : { files: [explicit], directories: [] };
  const fromConf = await readRegistriesConf(
    files,
    directories,
    explicit === undefined ? warnOnce : undefined,
  );
  if (args.registriesYaml === undefined) return { rules: fromConf, hosts: {} };
  const { mirrors, hosts } = await readRegistriesYaml(args.registriesYaml);
  return { rules: mergeRules(mirrors, fromConf), hosts };
}

/** Removes the mirrors of the registry that is written to, because a mirror may be out of date. */
function withoutMirrorsOf(registry: string, rules: readonly MirrorRule[]): MirrorRule[] {
  const own = rules.filter(({ prefix }) => prefix === registry || prefix.startsWith(`${registry}/`));
  const isWild = ({ prefix }: MirrorRule): boolean => prefix.startsWith('*');
  const others = rules.filter((rule) => !own.includes(rule));
  const insecure = others.some((rule) => isWild(rule) && rule.insecure === true);
  const plain: MirrorRule = { prefix: registry, insecure, mirrors: [], origin: 'the site' };
  return [...others, plain, ...own.map((rule) => ({ ...rule, mirrors: [] }))];
}

/**
 * Combines flags, configuration files and environment variables into registry options.
 * @param registries all registries that the command accesses, to which `--creds` without a host applies
 * @param target the registry that the command writes to
 * @throws AirliftError `usage` for an invalid flag; `input` or `io` for an invalid or unreadable file
 */
export async function registryOptionsOf(
  args: RegistryArguments,
  env: NodeJS.ProcessEnv,
  registries: Iterable<string>,
  target?: string,
): Promise<RegistryOptions> {
  const files = await readConfigFiles(args, env);
  const merged = mergeRules((args.mirror ?? []).map(parseMirrorFlag), files.rules);
  const rules = target === undefined ? merged : withoutMirrorsOf(target, merged);
  const hosts: Record<string, HostSettings> = { ...files.hosts };
  for (const [host, settings] of Object.entries(credentialsOf(args.creds, registries)))
    hosts[host] = { ...hosts[host], ...settings };
  const duration = (flag: string, text: string | undefined): number | undefined =>
    text === undefined ? undefined : parseDuration(flag, text);
  const isInsecure = args.tlsVerify === false;
  const state = stateFolder(env);
  return {
    plainHttp: args.plainHttp,
    authFiles: args.authfile === undefined ? authFilesOf(env) : [args.authfile],
    caFile: args.caFile,
    certDir: args.certDir,
    certsDirs: certsDirsOf(env),
    rootsFile: rootsFileOf(env),
    insecureSkipTlsVerify: isInsecure || args.insecureSkipTlsVerify,
    proxy: proxiesOf(env),
    mirrors: isInsecure ? makeInsecure(rules) : rules,
    hosts,
    retries: wholeNumber('retries', args.retries, 0),
    retryDelay: duration('retry-delay', args.retryDelay),
    maxRetryAfter: duration('max-retry-after', args.maxRetryAfter),
    idleTimeout: duration('idle-timeout', args.idleTimeout),
    requestsPerHost: wholeNumber('requests-per-host', args.requestsPerHost, 1),
    rateBudget: parseRateBudget(args.rateBudget),
    chunkSize: args.chunkSize === undefined ? undefined : parseSize('chunk-size', args.chunkSize),
    uploadsDirectory: target === undefined || state === undefined ? undefined : join(state, 'uploads'),
  };
}
