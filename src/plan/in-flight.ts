import { isAirliftError } from '../errors.js';
import { formatRepository, type Repository } from '../oci/reference.js';

interface Running<T> {
  readonly place: string;
  readonly work: Promise<T>;
}

/**
 * Shares concurrent reads of the same content. Reads are shared within one registry only; a read from another repository of the
 * same registry starts as soon as the first one has failed.
 */
export class InFlight<T> {
  readonly #running = new Map<string, Running<T>>();

  /**
   * Joins the running read of `key`, or starts one.
   * @throws what `work` throws for this repository
   */
  async share(key: string, repository: Repository, work: () => Promise<T>): Promise<T> {
    const { registry } = repository;
    const place = formatRepository(repository);
    const shared = `${registry} ${key}`;
    for (let other = this.#running.get(shared); other !== undefined; other = this.#running.get(shared)) {
      try {
        return await other.work;
      } catch (error) {
        // The other repository lacks the content, which this one may have; or the other caller was interrupted.
        if (other.place === place && !isAirliftError(error, 'interrupted')) throw error;
      }
    }
    const running = {
      place,
      work: work().finally(() => {
        if (this.#running.get(shared) === running) this.#running.delete(shared);
      }),
    };
    this.#running.set(shared, running);
    return running.work;
  }
}
