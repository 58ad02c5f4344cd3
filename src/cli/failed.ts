import { writeFile } from 'node:fs/promises';
import type { Options } from 'yargs';
import { AirliftError, messageOf } from '../errors.js';
import { formatReference, formatRerun, type ListedReference, type OnEvent } from '../index.js';
import { withFlags } from './hints.js';

export const failedFlag = {
  failed: {
    type: 'string',
    requiresArg: true,
    describe: 'file to list the failed images in, for use with --images',
  },
} as const satisfies Record<string, Options>;

/** Collects the failed images and writes them to a list file. */
export class FailedList {
  readonly #reasons = new Map<string, string>();

  constructor(
    private readonly path: string | undefined,
    private readonly images: readonly ListedReference[],
  ) {}

  /** Number of failed images so far. */
  get size(): number {
    return this.#reasons.size;
  }

  /** Records failures and passes every event to `next`. */
  listen(next: OnEvent): OnEvent {
    return (event) => {
      if (event.event === 'image-failed') this.#reasons.set(event.image, event.message);
      next(event);
    };
  }

  /**
   * Writes the list, even if it is empty: it must replace the list of an earlier run.
   * @throws AirliftError `io`
   */
  async write(): Promise<void> {
    if (this.path === undefined) return;
    const failed = this.images.flatMap((listed) => {
      const reason = this.#reasons.get(formatReference(listed.reference));
      return reason === undefined ? [] : [{ listed, reason: withFlags(reason) }];
    });
    const title = `${failed.length} of ${this.images.length} images failed; retry them with --images`;
    try {
      await writeFile(this.path, formatRerun(failed, title));
    } catch (cause) {
      throw new AirliftError('io', `write ${this.path}: ${messageOf(cause)}`, { cause });
    }
  }
}
