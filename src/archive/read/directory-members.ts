import { readdir, realpath, stat } from 'node:fs/promises';
import { join, relative, isAbsolute, sep } from 'node:path';
import { AirliftError, isMissingPath, messageOf, systemCodeOf } from '../../errors.js';
import { PathRange, type PlacedRange } from '../../io/byte-range.js';
import type { Members } from './members.js';

/** The files of a directory: an OCI image layout or an unpacked archive. */
export class DirectoryMembers implements Members {
  readonly missingHint = undefined;

  private constructor(
    private readonly root: string,
    readonly file: string,
  ) {}

  /** @throws AirliftError `io` where the directory cannot be read */
  static async open(path: string): Promise<DirectoryMembers> {
    return new DirectoryMembers(await realpath(path), path);
  }

  async find(path: string): Promise<PlacedRange | undefined> {
    let real: string;
    try {
      real = await realpath(join(this.root, path));
    } catch (cause) {
      if (isMissingPath(cause)) return undefined;
      if (systemCodeOf(cause) === 'ELOOP') throw this.#damaged(path, 'is a circular link');
      throw new AirliftError('io', `read ${join(this.file, path)}: ${messageOf(cause)}`, { cause });
    }
    const inside = relative(this.root, real);
    if (inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside))
      throw this.#damaged(path, 'is a link to a path outside the directory');
    const found = await stat(real);
    return found.isFile() ? new PathRange(real, found.size) : undefined;
  }

  async *below(folder: string): AsyncGenerator<string> {
    const entries = await readdir(join(this.root, folder), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (entry.isDirectory()) yield* this.below(join(folder, entry.name));
      else yield join(folder, entry.name);
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #damaged(path: string, happened: string): AirliftError {
    return new AirliftError('damaged', `read ${this.file}: ${JSON.stringify(path)} ${happened}`);
  }
}
