import { open, stat } from 'node:fs/promises';
import { detectCompression, magicLength } from '../archive/compression/decompress.js';
import { BundleFile } from '../bundle/format/file.js';
import { fileIdentity } from '../bundle/format/volumes/files.js';
import { AirliftError, systemCodeOf } from '../errors.js';
import type { ContentState } from '../registry-server/store-content.js';

/** Milliseconds between two checks of the path. */
const watchInterval = 500;

/** Guards all files that are served. */
export interface Guard {
  /**
   * Checks that no file was written to. All bytes read before this call are the bytes of the files as they were opened.
   * @throws AirliftError `io` once a file has changed
   */
  check(): Promise<void>;
  /** Returns the state of all inputs; undefined if one of them cannot be watched, such as a directory. */
  state(): Promise<ContentState | undefined>;
  close(): Promise<void>;
}

/**
 * Guards the inputs that are read in place. A compressed file is unpacked once; later changes of it do no harm. The content of a directory
 * is guarded by its digests only.
 * @param onChange receives an error for each file that changed
 */
export async function guardFiles(
  paths: readonly string[],
  onChange: (error: AirliftError) => void,
): Promise<Guard> {
  const guards: FileGuard[] = [];
  let isAllFiles = true;
  for (const path of new Set(paths)) {
    const isFile = await stat(path).then(
      (found) => found.isFile(),
      () => false,
    );
    isAllFiles &&= isFile;
    if (!isFile || !(await isUncompressed(path))) continue;
    guards.push(new FileGuard(await BundleFile.open({ path, isSingle: true }, 'r'), path, onChange));
  }
  return {
    check: async () => {
      for (const guard of guards) await guard.check();
    },
    state: async () => {
      if (!isAllFiles) return undefined;
      const states = await Promise.all(guards.map((guard) => guard.state()));
      return {
        id: states.map(({ id }) => id).join(),
        changed: Math.max(0, ...states.map(({ changed }) => changed)),
      };
    },
    close: async () => {
      for (const guard of guards) await guard.close();
    },
  };
}

/** Returns false for a file that cannot be read: opening the input reports the error. */
async function isUncompressed(path: string): Promise<boolean> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(magicLength), 0, magicLength, 0);
      return detectCompression(buffer.subarray(0, bytesRead), path) === 'none';
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

/** Notices when a file that is being served is replaced, removed or written to. Reports the first such change once. */
class FileGuard {
  readonly #timer: NodeJS.Timeout;
  #change: AirliftError | undefined;

  /**
   * @param file the open file
   * @param path the path of the file
   * @param onChange receives an error that says what happened to the file
   */
  constructor(
    private readonly file: BundleFile,
    private readonly path: string,
    private readonly onChange: (error: AirliftError) => void,
  ) {
    this.#timer = setInterval(() => void this.#look(), watchInterval);
  }

  /**
   * Checks that the open file was not written to.
   * @throws AirliftError `io` once the file has changed
   */
  async check(): Promise<void> {
    if (this.#change === undefined && !(await this.file.isUnchanged())) this.#report('its content changed');
    if (this.#change !== undefined) throw this.#change;
  }

  state(): Promise<ContentState> {
    return this.file.state();
  }

  async close(): Promise<void> {
    this.#stop();
    await this.file.close();
  }

  #stop(): void {
    clearInterval(this.#timer);
  }

  /** Compares the file at the path with the open one. */
  async #look(): Promise<void> {
    let now: string;
    try {
      now = fileIdentity(await stat(this.path, { bigint: true }));
    } catch (error) {
      const code = systemCodeOf(error);
      this.#report(code === 'ENOENT' ? 'it was removed' : `it can no longer be read (${String(code)})`);
      return;
    }
    if (now !== this.file.identity) this.#report('another file took its place, or its content changed');
  }

  #report(happened: string): void {
    if (this.#change !== undefined) return;
    this.#stop();
    this.#change = new AirliftError('io', `serve ${this.path}: ${happened}; stopped`, {
      hint: `airlift serve ${this.path}`,
    });
    this.onChange(this.#change);
  }
}
