import { isLoss, isOutage } from '../plan/outages.js';
import { formatRepository, type Repository } from '../oci/reference.js';

/** Number of other repositories to try for a blob: enough for a few that lost it, too few to wait for hundreds. */
const maxOtherRepositories = 4;

/** Reports whether a source failed to provide a blob that another repository may have. */
function isSourceFailure(error: unknown): boolean {
  return isLoss(error) || isOutage(error);
}

/**
 * Transfers a blob from its own repository or, if that fails, from other repositories that have it.
 * @param findOthers finds the other repositories; called only after the first failure
 * @param attempt transfers the blob from a repository
 * @param mayRetry reports whether a failure is one of the source; default: every loss and outage is
 * @throws the failure of the first repository, if all of them fail
 */
export async function fromAnyRepository<T>(
  own: Repository,
  findOthers: () => Iterable<Repository> | Promise<Iterable<Repository>>,
  attempt: (repository: Repository) => Promise<T>,
  mayRetry = isSourceFailure,
): Promise<T> {
  try {
    return await attempt(own);
  } catch (error) {
    if (!mayRetry(error)) throw error;
    const others = new Map<string, Repository>();
    for (const { registry, repository } of await findOthers()) {
      const other = { registry, repository };
      // If a registry is down, all of its repositories are.
      if (isLoss(error) || registry !== own.registry) others.set(formatRepository(other), other);
    }
    others.delete(formatRepository(own));
    for (const other of [...others.values()].slice(0, maxOtherRepositories)) {
      try {
        return await attempt(other);
      } catch (failure) {
        if (!mayRetry(failure)) throw failure;
      }
    }
    throw error;
  }
}
