import { maxDepth } from './choose.js';
import { isAirliftError } from './errors.js';
import type { Descriptor } from './oci/descriptor.js';
import { algorithmOf, hexOf, type Digest } from './oci/digest.js';
import { isTag, type Repository } from './oci/reference.js';
import type { FetchOptions, Image, Source } from './oci/source.js';

/** What belongs to images without being part of them, and how it is found. */

const cosignSuffixes = ['sig', 'att', 'sbom'];

/**
 * Images that cosign keeps beside another under tags made of its digest: `sha256-<hex>.sig`, `.att` and `.sbom` (cosign's
 * SIGNATURE_SPEC).
 * @param subjects the digests to look for
 */
export async function findCompanions(
  source: Pick<Source, 'resolve'>,
  { registry, repository }: Repository,
  subjects: Iterable<Digest>,
  options: FetchOptions = {},
): Promise<Image[]> {
  const tags = [...subjects]
    .flatMap((subject) =>
      cosignSuffixes.map((suffix) => `${algorithmOf(subject)}-${hexOf(subject)}.${suffix}`),
    )
    // A sha512 digest is too long for a tag.
    .filter(isTag);
  const found = await Promise.all(
    tags.map(async (tag) => {
      const reference = { registry, repository, tag };
      try {
        return [{ reference, root: await source.resolve(reference, { ...options, isGuess: true }) }];
      } catch (error) {
        if (isAirliftError(error, 'not-found')) return [];
        throw error;
      }
    }),
  );
  return found.flat();
}

/** What a walk over referrers needs. */
export interface ReferrersWalk {
  readonly source: Pick<Source, 'referrers'>;
  readonly repository: Repository;
  readonly signal: AbortSignal | undefined;
  /** Takes a referrer and all below it. */
  add(referrer: Descriptor): Promise<void>;
  /** Where there are some: nothing else is taken. */
  readonly wanted?: ReadonlySet<Digest> | undefined;
  readonly warn?: ((text: string) => void) | undefined;
}

/** Lists of referrers outlive what they name, where clients keep them under a tag. */
async function isTaken(walk: ReferrersWalk, referrer: Descriptor, subject: Digest): Promise<boolean> {
  try {
    await walk.add(referrer);
    return true;
  } catch (error) {
    if (!isAirliftError(error, 'not-found') || walk.wanted !== undefined) throw error;
    walk.warn?.(`left out referrer ${referrer.digest} of ${subject}, which is listed and not there`);
    return false;
  }
}

/**
 * Takes what refers to images, what refers to that, and so on (distribution-spec, "Listing Referrers").
 * @returns the digests of the referrers
 */
export async function takeReferrers(walk: ReferrersWalk, subjects: Iterable<Digest>): Promise<Set<Digest>> {
  const taken = new Set<Digest>();
  const follow = async (subject: Digest, depth: number): Promise<void> => {
    if (depth > maxDepth) return;
    const { source, repository, signal, wanted } = walk;
    for await (const referrer of source.referrers(repository, subject, { signal })) {
      const { digest } = referrer;
      if (taken.has(digest) || wanted?.has(digest) === false) continue;
      taken.add(digest);
      if (await isTaken(walk, referrer, subject)) await follow(digest, depth + 1);
      else taken.delete(digest);
    }
  };
  for (const subject of subjects) await follow(subject, 0);
  return taken;
}
