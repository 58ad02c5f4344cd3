import { dirname, join } from 'node:path';
import { AirliftError, firstNames, isAirliftError } from '../../errors.js';
import { listLimits, parseJson } from '../../oci/json.js';
import { RangeCursor, StreamCursor, type ByteCursor, type ByteRange } from '../../io/byte-range.js';
import { magicLength, decompress, detectCompression } from '../compression/decompress.js';
import { DirectoryMembers } from './directory-members.js';
import { readMember, type Members } from './members.js';
import { scanTar } from '../../tar/scan.js';

/** The most paths that are searched for images. */
const maxLooked = 200_000;
/** The most bytes of `manifest.json` and `version` files that are read to recognise them. */
const maxManifestJson = 32 * 1024 * 1024;
const maxVersion = 256;

/** The places of images in an archive without images at its root. Folders have no trailing `/`. */
export interface Nested {
  /** The folder of a registry's storage, `…docker/registry/v2`. */
  readonly registry: string | undefined;
  /** OCI layouts and docker-archives. */
  readonly folders: readonly string[];
  /** Folders of skopeo's `dir:` transport. */
  readonly skopeo: readonly string[];
  /** Archives that may hold images. */
  readonly archives: readonly string[];
  readonly chart: string | undefined;
}

/** Matches names of archives, except for the layers in docker-archives. */
const archiveName =
  /(?<!(?:^|\/)layer|(?:^|\/)[0-9a-f]{64})\.(?:tar(?:\.(?:gz|zst|xz|bz2|lz4))?|tgz|tzst|txz|tbz2?)$/i;

async function isSavedList(members: Members, path: string): Promise<boolean> {
  const bytes = await readMember(members, path, maxManifestJson);
  try {
    return Array.isArray(parseJson(bytes ?? Buffer.alloc(0), path, listLimits));
  } catch {
    return false;
  }
}

async function isSkopeo(members: Members, folder: string): Promise<boolean> {
  const content = await members.find(`${folder}/version`);
  if (content === undefined || content.size > maxVersion) return false;
  return (await content.read(0, maxVersion)).toString('latin1').startsWith('Directory Transport Version');
}

/** Limits for inner archives: how many are inspected, entries of each, decompressed bytes of each. */
const maxPeeked = 200;
const maxEntries = 200_000;
const maxUnpacked = 64 * 1024 * 1024;

async function hasList(cursor: ByteCursor, limit: number): Promise<boolean> {
  for await (const { name } of scanTar(cursor, 'archive', maxEntries)) {
    if (/(?:^|\/)(?:manifest|index)\.json$/.test(name)) return true;
    if (cursor.position > limit) return true;
  }
  return false;
}

/** Reports whether an inner archive may hold images, so that the error advises only to import those. */
async function mayHoldImages(content: ByteRange): Promise<boolean> {
  try {
    if (detectCompression(await content.read(0, magicLength), 'archive') === 'none')
      return await hasList(new RangeCursor(content), Infinity);
    const unpacked = await decompress(content.stream(), 'archive');
    try {
      return await hasList(new StreamCursor(unpacked.content), maxUnpacked);
    } finally {
      unpacked.content.destroy();
    }
  } catch (error) {
    // A damaged archive and an unknown compression get their own error when the archive is imported by itself. Content that is no
    // tar at all cannot be imported.
    return !isAirliftError(error, 'input');
  }
}

async function withImages(
  members: Members,
  archives: readonly string[],
  signal?: AbortSignal,
): Promise<string[]> {
  const found: string[] = [];
  for (const [at, path] of archives.entries()) {
    signal?.throwIfAborted();
    const content = await members.find(path);
    if (content !== undefined && (at >= maxPeeked || (await mayHoldImages(content)))) found.push(path);
  }
  return found;
}

/** Searches an archive for images below its root. */
export async function findNested(members: Members, signal?: AbortSignal): Promise<Nested> {
  const layouts = new Set<string>();
  const manifests: string[] = [];
  const archives: string[] = [];
  let [registry, chart]: (string | undefined)[] = [];
  let looked = 0;
  for await (const path of members.below('')) {
    signal?.throwIfAborted();
    if (looked++ > maxLooked) break;
    const [, folder = '', file] = /^(.+)\/(oci-layout|manifest\.json)$/.exec(path) ?? [];
    if (file === 'oci-layout') layouts.add(folder);
    else if (file === 'manifest.json') manifests.push(folder);
    else if (archiveName.test(path)) archives.push(path);
    registry ??= /^((?:.+\/)?docker\/registry\/v2)\/(?:blobs|repositories)\//.exec(path)?.[1];
    chart ??= /^(?:[^/]+\/)?Chart\.yaml$/.exec(path)?.[0];
  }
  const folders = new Set<string>();
  const skopeo: string[] = [];
  for (const folder of layouts) if (await members.find(`${folder}/index.json`)) folders.add(folder);
  for (const folder of manifests) {
    signal?.throwIfAborted();
    if (folders.has(folder)) continue;
    if (await isSkopeo(members, folder)) skopeo.push(folder);
    else if (await isSavedList(members, `${folder}/manifest.json`)) folders.add(folder);
  }
  const inside = registry === undefined ? await withImages(members, archives.sort(), signal) : [];
  return { registry, folders: [...folders].sort(), skopeo: skopeo.sort(), archives: inside, chart };
}

/** The most paths in a message. */
const maxNamed = 5;

function listed(paths: readonly string[]): string {
  return firstNames(
    paths.map((path) => JSON.stringify(path)),
    maxNamed,
  );
}

/** Quotes a word of a shell command where necessary. */
export function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Returns paths as words of a command, or patterns where there are many. */
function words(paths: readonly string[]): string[] {
  if (paths.length <= maxNamed) return paths.map(word);
  const patterns = paths.map((path) => {
    const extension = archiveName.exec(path)?.[0] ?? '';
    return word(dirname(path)) + `/*${extension}`;
  });
  return [...new Set(patterns)];
}

/** Returns the command that imports the archives inside of a directory or an archive. */
function importCommand(members: Members, paths: readonly string[]): string {
  const isDirectory = members instanceof DirectoryMembers;
  const named = words(isDirectory ? paths.map((path) => join(members.file, path)) : paths);
  const command = `airlift import ${named.join(' ')} --to SITE`;
  if (isDirectory) return command;
  const file = members.file === 'standard input' ? 'FILE' : word(members.file);
  return `tar -xf ${file} && ${command}`;
}

/**
 * Returns the error for an archive that holds several archives.
 * @param paths the paths of the inner archives
 */
export function severalInside(members: Members, paths: readonly string[]): AirliftError {
  const kind = members instanceof DirectoryMembers ? 'a directory' : 'an archive';
  return new AirliftError(
    'input',
    `read ${members.file}: ${kind} of archives; name the archives themselves: ${listed(paths)}`,
    { hint: importCommand(members, paths) },
  );
}
