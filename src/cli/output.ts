import { systemCodeOf } from '../errors.js';

/** What stands at the bottom of a terminal, below all that is printed, and is drawn again and again. */
export interface LiveArea {
  /** Takes the area off the terminal until it is drawn again. */
  clear(): void;
}

let live: LiveArea | undefined;

/** Has everything that is printed from now on appear above `area`; undefined ends that. */
export function printAbove(area: LiveArea | undefined): void {
  live = area;
}

/**
 * Standard output or standard error. A reader may go away (EPIPE) and a disk may fill up (ENOSPC): what is printed after that is
 * dropped, and the command decides what it means. Without a listener Node would end the process in the middle of its work.
 */
export class Output {
  #lost: string | undefined;

  constructor(private readonly stream: NodeJS.WriteStream) {
    stream.on('error', (error) => this.#lose(error));
  }

  /** The system's error code of the first write that failed. */
  get lost(): string | undefined {
    return this.#lost;
  }

  write(text: string | Uint8Array): void {
    if (this.#lost !== undefined) return;
    live?.clear();
    this.draw(text);
  }

  /** As `write`, for the live area itself. */
  draw(text: string | Uint8Array): void {
    if (this.#lost !== undefined) return;
    try {
      this.stream.write(text);
    } catch (error) {
      this.#lose(error);
    }
  }

  /** Resolves when everything was written, or is known to be lost. */
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
