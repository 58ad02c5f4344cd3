import { stat } from 'node:fs/promises';
import { fileIdentity, type BundleFile } from '../bundle/format/file.js';
import { AirliftError, systemCodeOf } from '../errors.js';

/** Milliseconds between two looks at the path of a served file. */
const watchInterval = 500;

/**
 * Notices when a file that is being served is replaced, removed or written to. Reports the first such change once.
 */
export class FileGuard {
  readonly #timer: NodeJS.Timeout;
  #change: AirliftError | undefined;

  /**
   * @param file the open file
   * @param path where the file lies
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
   * Checks that nobody has written to the open file. What was read from it before this call is what was there when it was opened.
   * @throws AirliftError `io` once the file has changed
   */
  async check(): Promise<void> {
    if (this.#change === undefined && !(await this.file.isUnchanged())) this.#report('its content changed');
    if (this.#change !== undefined) throw this.#change;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Looks what lies at the path now. */
  async #look(): Promise<void> {
    let now: string;
    try {
      now = fileIdentity(await stat(this.path, { bigint: true }));
    } catch (error) {
      const code = systemCodeOf(error);
      this.#report(code === 'ENOENT' ? 'it was removed' : `it cannot be read any more (${String(code)})`);
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
