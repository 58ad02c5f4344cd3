import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AirliftError, interruption, isMissingPath, isOutOfSpace, messageOf } from '../errors.js';
import { makeDirectory } from '../io/directories.js';
import { digestOf, hexOf, type Digest } from '../oci/digest.js';

/** The file of digests; a directory without it is not a complete kit. */
const sumsName = 'SHA256SUMS';
const licenses = 'LICENSES';
/** Files of kits: of this version of airlift, of others, and of an interrupted run. */
const ownName =
  /^(?:airlift|SHA256SUMS|LICENSES|linux-\w+\.gz|image(?:-linux-\w+)?\.tar(?:\.gz)?)(?:\.partial)?$/;
const staleName = /^linux-\w+\.gz$|^image(?:-linux-\w+)?\.tar(?:\.gz)?$|\.partial$/;
const staleLicense = /^node-[\d.]+\.txt$|\.partial$/;

/** Bytes of one write. */
const chunkSize = 1024 * 1024;

function* chunksOf(parts: readonly Buffer[]): Generator<Buffer> {
  for (const part of parts)
    for (let at = 0; at < part.byteLength; at += chunkSize) yield part.subarray(at, at + chunkSize);
}

/** Writes the files of a kit's directory. Each is complete as soon as it has its name. */
export class KitWriter {
  readonly #sums = new Map<string, Digest>();

  constructor(
    readonly directory: string,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * Prepares the directory: from now until `finish` it is not a complete kit.
   * @throws AirliftError `exists` if it holds other files than those of kits; `io`
   */
  async start(): Promise<void> {
    const names = await this.#list('');
    const foreign = names.find((name) => !ownName.test(name));
    if (foreign !== undefined)
      throw new AirliftError(
        'exists',
        `write a kit to ${this.directory}: it has other files, such as ${JSON.stringify(foreign)}`,
        {
          hint: 'choose another output directory, or move that directory away',
        },
      );
    await this.#attempt(this.directory, async () => {
      await makeDirectory(join(this.directory, licenses));
      await rm(join(this.directory, sumsName), { force: true });
    });
  }

  /**
   * Writes one file.
   * @param name path in the kit's directory
   * @param transform changes the content on its way, such as compression
   * @returns the bytes of the file
   * @throws AirliftError `io`, `no-space`, `interrupted`
   */
  async write(name: string, content: readonly Buffer[], transform?: Transform): Promise<number> {
    const hash = createHash('sha256');
    let size = 0;
    const count = async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of source) {
        hash.update(chunk);
        size += chunk.byteLength;
        yield chunk;
      }
    };
    const source = Readable.from(chunksOf(content));
    await this.#replace(join(this.directory, name), async (partial) => {
      const target = createWriteStream(partial, { flags: 'wx' });
      if (transform === undefined) await pipeline(source, count, target, { signal: this.signal });
      else await pipeline(source, transform, count, target, { signal: this.signal });
    });
    this.#sums.set(name, `sha256:${hash.digest('hex')}` as Digest);
    return size;
  }

  /** Takes a file of the kit's directory that another writer wrote and synced into the list of digests. */
  async adopt(name: string): Promise<void> {
    const path = join(this.directory, name);
    await this.#attempt(path, async () => {
      const hash = createHash('sha256');
      await pipeline(createReadStream(path), hash, { signal: this.signal });
      this.#sums.set(name, `sha256:${hash.digest('hex')}` as Digest);
    });
  }

  /**
   * Removes what is left of earlier kits and writes the digests of all files.
   * @returns the digest of that list
   */
  async finish(): Promise<Digest> {
    await this.#removeStale('', staleName);
    await this.#removeStale(licenses, staleLicense);
    const sums = [...this.#sums].sort(([left], [right]) => (left < right ? -1 : 1));
    const text = Buffer.from(sums.map(([name, digest]) => `${hexOf(digest)}  ${name}\n`).join(''));
    await this.write(sumsName, [text]);
    return digestOf(text);
  }

  /** Replaces a file outside of the kit's directory. */
  async replaceBeside(path: string, content: Buffer): Promise<void> {
    await this.#replace(path, (partial) =>
      pipeline(Readable.from(chunksOf([content])), createWriteStream(partial, { flags: 'wx' })),
    );
  }

  async #replace(path: string, write: (partial: string) => Promise<void>): Promise<void> {
    const partial = `${path}.partial`;
    await this.#attempt(path, async () => {
      try {
        await rm(partial, { force: true });
        await write(partial);
        // Removable media are pulled out early.
        const file = await open(partial, 'r+');
        await file.sync().finally(() => file.close());
        await rename(partial, path);
      } catch (error) {
        await rm(partial, { force: true });
        throw error;
      }
    });
  }

  async #removeStale(folder: string, pattern: RegExp): Promise<void> {
    for (const name of await this.#list(folder)) {
      const isNew = this.#sums.has(folder === '' ? name : `${folder}/${name}`);
      if (isNew || !pattern.test(name)) continue;
      const path = join(this.directory, folder, name);
      await this.#attempt(path, () => rm(path, { force: true }));
    }
  }

  async #list(folder: string): Promise<string[]> {
    const path = join(this.directory, folder);
    try {
      return await readdir(path);
    } catch (cause) {
      if (isMissingPath(cause)) return [];
      throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  async #attempt(path: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      if (this.signal?.aborted === true) throw interruption('build a kit', this.signal);
      const full = isOutOfSpace(cause);
      throw new AirliftError(full ? 'no-space' : 'io', `write ${path}: ${messageOf(cause)}`, {
        cause,
        hint: full ? 'free space, or write the kit to another medium' : undefined,
      });
    }
  }
}
