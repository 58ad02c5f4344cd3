import { systemCodeOf } from '../errors.js';

/** Text at the bottom of a terminal, below all other output, that is redrawn repeatedly. */
export interface LiveArea {
  /** Removes the area from the terminal until the next drawing. */
  clear(): void;
}

let live: LiveArea | undefined;

/** Prints all later output above `area`; undefined ends this. */
export function printAbove(area: LiveArea | undefined): void {
  live = area;
}

/**
 * Standard output or standard error. After a failed write (EPIPE if the reader is gone, ENOSPC if the disk is full) it drops all
 * later output, and the command decides what that means. Without an error listener Node would end the process in the middle of its work.
 */
class Output {
  #lost: string | undefined;

  constructor(private readonly stream: NodeJS.WriteStream) {
    stream.on('error', (error) => this.#lose(error));
  }

  /** System error code of the first failed write. */
  get lost(): string | undefined {
    return this.#lost;
  }

  write(text: string | Uint8Array): void {
    if (this.#lost !== undefined) return;
    live?.clear();
    this.draw(text);
  }

  /** Writes without clearing the live area; only the live area calls it. */
  draw(text: string | Uint8Array): void {
    if (this.#lost !== undefined) return;
    try {
      this.stream.write(text);
    } catch (error) {
      this.#lose(error);
    }
  }

  /** Resolves when all output is written or known to be lost. */
  async flush(): Promise<void> {
    if (this.#lost !== undefined) return;
    await new Promise<void>((done) => void this.stream.write('', () => done()));
  }

  #lose(error: unknown): void {
    this.#lost ??= systemCodeOf(error) ?? 'EIO';
  }
}

export const standardOutput = new Output(process.stdout);
export const standardError = new Output(process.stderr);
