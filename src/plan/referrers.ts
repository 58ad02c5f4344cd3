import { maxDepth } from './choose-platforms.js';
import { messageOf } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, hexOf, type Digest } from '../oci/digest.js';
import { verdictOf } from '../oci/guess.js';
import { formatRepository, isTag, type Repository } from '../oci/reference.js';
import type { FetchOptions, Image, Source } from '../oci/source.js';
import { allLinked } from '../concurrency.js';

type Warn = (text: string) => void;

const cosignSuffixes = ['sig', 'att', 'sbom'];

/**
 * Finds the images that cosign keeps under tags made of another image's digest: `sha256-<hex>.sig`, `.att` and `.sbom` (cosign's
 * SIGNATURE_SPEC).
 * @param subjects the digests that the tags name
 */
export async function findCompanions(
  source: Pick<Source, 'resolve'>,
  { registry, repository }: Repository,
  subjects: Iterable<Digest>,
  { warn, ...options }: FetchOptions & { readonly warn?: Warn | undefined } = {},
): Promise<Image[]> {
  const known = new Set(subjects);
  const tags = [...known]
    .flatMap((subject) =>
      cosignSuffixes.map((suffix) => `${algorithmOf(subject)}-${hexOf(subject)}.${suffix}`),
    )
    // A sha512 digest does not fit into a tag.
    .filter(isTag);
  const unanswered: { tag: string; why: string }[] = [];
  const found = await allLinked(tags, options.signal, async (tag, signal) => {
    const reference = { registry, repository, tag };
    try {
      const root = await source.resolve(reference, { ...options, signal, isGuess: true });
      // Some registries resolve a tag that starts with the digest to the image itself.
      return known.has(root.digest) ? [] : [{ reference, root }];
    } catch (error) {
      const verdict = verdictOf(error);
      if (verdict === 'fatal') throw error;
      if (verdict === 'unanswered') unanswered.push({ tag, why: messageOf(error) });
      return [];
    }
  });
  const [first] = unanswered;
  if (first !== undefined)
    warn?.(
      `left out signatures of ${formatRepository({ registry, repository })} under tags such as ${first.tag}: ` +
        first.why,
    );
  return found.flat();
}

/** How to handle failures of optional content. */
export interface Leniency {
  readonly warn?: Warn | undefined;
  /**
   * Leave out optional content with a warning if the source fails, as registries may. Default: leave out only missing content,
   * because a bundle or an archive that fails is damaged.
   */
  readonly lenient?: boolean | undefined;
}

/**
 * Includes optional content, without which an image is still complete.
 * @param what the content, for the warning
 * @returns whether the content was included; if not, `warn` got the reason
 * @throws AirliftError if the run cannot continue; the failure of a source that is not lenient
 */
export async function includeOptional(
  what: string,
  { warn, lenient }: Leniency,
  include: () => Promise<void>,
): Promise<boolean> {
  try {
    await include();
    return true;
  } catch (error) {
    const verdict = verdictOf(error);
    if (verdict === 'fatal' || (verdict === 'unanswered' && lenient !== true)) throw error;
    warn?.(`left out ${what}: ${messageOf(error)}`);
    return false;
  }
}

/** The parameters of a walk over referrers. */
export interface ReferrersWalk extends Leniency {
  readonly source: Pick<Source, 'referrers'>;
  readonly repository: Repository;
  readonly signal: AbortSignal | undefined;
  /** Includes a referrer and everything below it. */
  add(referrer: Descriptor): Promise<void>;
  /** The only referrers to include; default: all. */
  readonly wanted?: ReadonlySet<Digest> | undefined;
}

/**
 * Includes a referrer. One that is missing is left out with a warning: a list of referrers that clients keep under a tag may list
 * deleted manifests.
 */
async function includeReferrer(walk: ReferrersWalk, referrer: Descriptor, subject: Digest): Promise<boolean> {
  const { wanted } = walk;
  const include = (): Promise<void> => walk.add(referrer);
  if (wanted === undefined)
    return includeOptional(`referrer ${referrer.digest} of ${subject}`, walk, include);
  await include();
  return true;
}

/**
 * Lists the referrers of a digest. If a registry cannot answer, warns and lists nothing; referrers that are pinned by digest need no
 * list.
 * @throws AirliftError the failure of a source that is not lenient (a bundle or an archive)
 */
async function* listReferrers(walk: ReferrersWalk, subject: Digest): AsyncGenerator<Descriptor> {
  const { source, repository, signal, wanted, warn, lenient } = walk;
  try {
    yield* source.referrers(repository, subject, { signal });
  } catch (error) {
    const verdict = verdictOf(error);
    if (verdict === 'fatal' || (verdict === 'unanswered' && lenient !== true)) throw error;
    if (verdict === 'unanswered' && wanted === undefined)
      warn?.(
        `left out the referrers of ${formatRepository(repository)}@${subject}, such as signatures and SBOMs: ${messageOf(error)}`,
      );
  }
}

/**
 * Includes the referrers of images, their referrers, and so on (distribution-spec, "Listing Referrers").
 * @returns the digests of the referrers
 */
export async function includeReferrers(
  walk: ReferrersWalk,
  subjects: Iterable<Digest>,
): Promise<Set<Digest>> {
  const included = new Set<Digest>();
  const follow = async (subject: Digest, depth: number, signal: AbortSignal): Promise<void> => {
    if (depth > maxDepth) return;
    const { wanted } = walk;
    for await (const referrer of listReferrers({ ...walk, signal }, subject)) {
      const { digest } = referrer;
      if (included.has(digest) || wanted?.has(digest) === false) continue;
      included.add(digest);
      if (await includeReferrer(walk, referrer, subject)) await follow(digest, depth + 1, signal);
      else included.delete(digest);
    }
  };
  await allLinked(subjects, walk.signal, (subject, signal) => follow(subject, 0, signal));
  return included;
}
