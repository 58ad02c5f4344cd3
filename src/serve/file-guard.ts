import { stat } from 'node:fs/promises';
import { fileIdentity, type BundleFile } from '../bundle/format/file.js';
import { AirliftError, systemCodeOf } from '../errors.js';

/** Milliseconds between two checks of the path. */
const watchInterval = 500;

/**
 * Notices when a file that is being served is replaced, removed or written to. Reports the first such change once.
 */
export class FileGuard {
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
   * Checks that the open file was not written to. All bytes read before this call are the bytes of the file as it was opened.
   * @throws AirliftError `io` once the file has changed
   */
  async check(): Promise<void> {
    if (this.#change === undefined && !(await this.file.isUnchanged())) this.#report('its content changed');
    if (this.#change !== undefined) throw this.#change;
  }

  stop(): void {
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
    this.stop();
    this.#change = new AirliftError('io', `serve ${this.path}: ${happened}; stopped`, {
      hint: `airlift serve ${this.path}`,
    });
    this.onChange(this.#change);
  }
}
