import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ArgumentsCamelCase, InferredOptionTypes } from 'yargs';
import { makeDirectory } from '../io/directories.js';
import { AirliftError, isMissingPath, messageOf } from '../errors.js';
import {
  emitNodeFiles,
  formatReference,
  mergedRepositories,
  parseNameMap,
  parseRenameRule,
  parseSite,
  Registry,
  type EarlierFiles,
  type HeldImage,
  type RegistryOptions,
  type Site,
  type SiteName,
} from '../index.js';
import { formatTable } from './format.js';
import type { nameFlags } from './name-flags.js';
import { withFlags } from './hints.js';
import { printJson, printLines, printNote } from './print.js';

type NameArguments = ArgumentsCamelCase<InferredOptionTypes<typeof nameFlags> & { to: string }>;

async function readMap(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new AirliftError('usage', `read rename map ${path}: ${messageOf(cause)}`, { cause });
  }
}

type NamingArguments = Pick<NameArguments, 'keepRegistry' | 'rename' | 'renameMap'>;

/** Builds the rules for names at a site from the flags. */
export async function namingOf(args: NamingArguments): Promise<Pick<Site, 'keepRegistry' | 'rules'>> {
  const rules = (args.rename ?? []).map(parseRenameRule);
  if (args.renameMap !== undefined)
    rules.push(...parseNameMap(await readMap(args.renameMap), args.renameMap));
  return { keepRegistry: args.keepRegistry, rules };
}

/** Builds the site and its rename rules from the flags. */
export async function siteOf(args: NamingArguments & Pick<NameArguments, 'to'>): Promise<Site> {
  const naming = await namingOf(args);
  return { ...parseSite(args.to), ...naming };
}

/** Prints the names that images get at the site. */
export function printNames(names: readonly SiteName[], json: boolean): void {
  const rows = names.map(({ source, site, digest }) => [
    formatReference(source),
    formatReference(site),
    digest,
  ]);
  if (json) printJson(rows.map(([source, site, digest]) => ({ source, site, digest })));
  else printLines(formatTable(['source', 'site', 'digest'], rows));
}

/** Prints the names and digests of images in a file. */
export function printImages(images: readonly HeldImage[], json: boolean): void {
  if (json) printJson(images);
  else
    printLines(
      formatTable(
        ['image', 'digest'],
        images.map(({ image, digest }) => [image, digest]),
      ),
    );
}

/** Warns if images of several registries get the same repository, because nodes could then pull the wrong image. */
export function warnMergedRepositories(names: readonly SiteName[]): void {
  const merged = mergedRepositories(names);
  for (const sentence of merged) printNote(`note: ${sentence}`);
  if (merged.length > 0) printNote('  hint: keep the registries apart with --keep-registry');
}

async function readIfExists(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (isMissingPath(cause)) return undefined;
    throw new AirliftError('io', `read ${file}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Reads the files that an earlier run wrote to the directory; undefined if there are none.
 * @throws AirliftError `usage` if the directory contains node files without their names.tsv
 */
async function earlierFiles(directory: string): Promise<EarlierFiles | undefined> {
  const file = join(directory, 'names.tsv');
  const table = await readIfExists(file);
  if (table !== undefined)
    return { table, file, mirrorSets: await readIfExists(join(directory, 'openshift/mirror-sets.yaml')) };
  for (const path of ['registries.yaml', 'registries.conf', 'certs.d', 'openshift', 'kustomize']) {
    const found = await stat(join(directory, path)).catch(() => undefined);
    if (found !== undefined)
      throw new AirliftError(
        'usage',
        `emit to ${directory}: found ${path} without the names.tsv that airlift writes with it`,
        { hint: 'choose another directory with --emit DIR' },
      );
  }
  return undefined;
}

/** Replaces a file atomically, so that a node never reads half of it. */
async function replaceFile(file: string, text: string): Promise<void> {
  await makeDirectory(dirname(file));
  await writeFile(`${file}.partial`, text);
  await rename(`${file}.partial`, file);
}

/** Asks the registry whether it uses plain HTTP; with `--tls-verify=false` the options allow both. */
async function usesPlainHttp(registry: string, access: RegistryOptions): Promise<boolean> {
  const client = new Registry(access);
  try {
    return await client.usesPlainHttp(registry);
  } finally {
    await client.close();
  }
}

async function writeNodeFiles(
  directory: string,
  files: readonly { readonly path: string; readonly text: string }[],
  authority: string | undefined,
): Promise<void> {
  try {
    await makeDirectory(directory);
    if (authority !== undefined) await replaceFile(join(directory, 'ca.crt'), authority);
    for (const { path, text } of files) await replaceFile(join(directory, path), text);
  } catch (cause) {
    throw new AirliftError('io', `write node files to ${directory}: ${messageOf(cause)}`, {
      cause,
      hint: 'choose a writable directory with --emit DIR',
    });
  }
}

/**
 * Writes the configuration with which nodes find images under their old names. Keeps the entries of earlier runs for other images.
 * @param access registry options of this run; nodes need the same certificates
 */
export async function emitNames(
  directory: string,
  site: Site,
  names: readonly SiteName[],
  access: RegistryOptions,
): Promise<void> {
  const own = access.hosts?.[site.registry];
  const caFile = access.caFile ?? own?.caFile;
  await emitSetup(directory, site, names, {
    plainHttp: await usesPlainHttp(site.registry, access),
    skipVerify: access.insecureSkipTlsVerify === true || own?.insecureSkipTlsVerify === true,
    authority: caFile === undefined ? undefined : await readFile(caFile, 'utf8'),
  });
}

/** How nodes reach a registry, with the CA certificate that they need. */
export interface SetupAccess {
  readonly plainHttp: boolean;
  readonly skipVerify: boolean;
  /** In PEM. */
  readonly authority: string | undefined;
}

/** Writes the configuration of nodes for a registry whose access is known; otherwise like {@link emitNames}. */
export async function emitSetup(
  directory: string,
  site: Site,
  names: readonly SiteName[],
  { authority, ...access }: SetupAccess,
): Promise<void> {
  const connection = {
    ...access,
    // podman and CRI-O search this directory; the emitted files name it for k3s and containerd.
    caFile: authority === undefined ? undefined : `/etc/containers/certs.d/${site.registry}/ca.crt`,
  };
  const { files, notes } = emitNodeFiles(site, connection, names, await earlierFiles(directory));
  await writeNodeFiles(directory, files, authority);
  if (authority !== undefined)
    notes.push(`copy ${join(directory, 'ca.crt')} to every node as ${connection.caFile}`);
  for (const note of notes) printNote(withFlags(note));
}
