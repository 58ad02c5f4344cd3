import { isAirliftError } from '../errors.js';
import { formatRepository, type Repository } from '../oci/reference.js';

interface Running<T> {
  readonly place: string;
  readonly work: Promise<T>;
}

/**
 * Shares reads of the same content among those who want it at the same time. A registry answers for itself alone: another
 * registry is always asked too, and another repository of the same registry as soon as the first one has failed.
 */
export class InFlight<T> {
  readonly #running = new Map<string, Running<T>>();

  /**
   * Joins the read of `key` that is under way, or begins it.
   * @throws what `work` throws for this repository
   */
  async share(key: string, repository: Repository, work: () => Promise<T>): Promise<T> {
    const { registry } = repository;
    const place = formatRepository({ registry, repository: repository.repository });
    const shared = `${registry} ${key}`;
    for (let other = this.#running.get(shared); other !== undefined; other = this.#running.get(shared)) {
      try {
        return await other.work;
      } catch (error) {
        // That repository does not have it, and this one may; or others did not want it any more.
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
