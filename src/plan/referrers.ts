import { maxDepth } from './choose-platforms.js';
import { messageOf } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, hexOf, type Digest } from '../oci/digest.js';
import { verdictOf } from '../oci/guess.js';
import { formatRepository, isTag, type Repository } from '../oci/reference.js';
import type { FetchOptions, Image, Source } from '../oci/source.js';
import { allLinked } from '../concurrency.js';

/** What belongs to images without being part of them, and how it is found. */

type Warn = (text: string) => void;

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
  { warn, ...options }: FetchOptions & { readonly warn?: Warn | undefined } = {},
): Promise<Image[]> {
  const known = new Set(subjects);
  const tags = [...known]
    .flatMap((subject) =>
      cosignSuffixes.map((suffix) => `${algorithmOf(subject)}-${hexOf(subject)}.${suffix}`),
    )
    // A sha512 digest is too long for a tag.
    .filter(isTag);
  const unanswered: { tag: string; why: string }[] = [];
  const found = await allLinked(tags, options.signal, async (tag, signal) => {
    const reference = { registry, repository, tag };
    try {
      const root = await source.resolve(reference, { ...options, signal, isGuess: true });
      // Some registries resolve a tag that begins like the digest to the image itself.
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
      `left out the signatures of ${formatRepository({ registry, repository })} that tags such as ${first.tag} may hold: ` +
        first.why,
    );
  return found.flat();
}

/** How failures over optional content are taken. */
export interface Leniency {
  readonly warn?: Warn | undefined;
  /**
   * What the source fails over is left out with a warning, as is right for registries. A bundle or archive that fails is damaged:
   * only what it does not hold is left out.
   */
  readonly lenient?: boolean | undefined;
}

/**
 * Runs what takes optional content, which an image is whole without.
 * @param what names it, for a warning
 * @returns whether it was taken; where it was not, `warn` got the reason
 * @throws AirliftError where the run itself can't continue, and what a strict source fails over
 */
export async function takeOptional(
  what: string,
  { warn, lenient }: Leniency,
  take: () => Promise<void>,
): Promise<boolean> {
  try {
    await take();
    return true;
  } catch (error) {
    const verdict = verdictOf(error);
    if (verdict === 'fatal' || (verdict === 'unanswered' && lenient !== true)) throw error;
    warn?.(`left out ${what}: ${messageOf(error)}`);
    return false;
  }
}

/** What a walk over referrers needs. */
export interface ReferrersWalk extends Leniency {
  readonly source: Pick<Source, 'referrers'>;
  readonly repository: Repository;
  readonly signal: AbortSignal | undefined;
  /** Takes a referrer and all below it. */
  add(referrer: Descriptor): Promise<void>;
  /** Where there are some: nothing else is taken. */
  readonly wanted?: ReadonlySet<Digest> | undefined;
}

/** Lists of referrers outlive what they name, where clients keep them under a tag. */
async function isTaken(walk: ReferrersWalk, referrer: Descriptor, subject: Digest): Promise<boolean> {
  const { wanted } = walk;
  const take = (): Promise<void> => walk.add(referrer);
  if (wanted === undefined) return takeOptional(`referrer ${referrer.digest} of ${subject}`, walk, take);
  await take();
  return true;
}

/**
 * Lists what refers to a digest. Where a registry cannot answer, it warns and lists nothing; referrers that are wanted by their own
 * digests need no list.
 * @throws AirliftError what a strict source (a bundle or an archive) fails over
 */
async function* listed(walk: ReferrersWalk, subject: Digest): AsyncGenerator<Descriptor> {
  const { source, repository, signal, wanted, warn, lenient } = walk;
  try {
    yield* source.referrers(repository, subject, { signal });
  } catch (error) {
    const verdict = verdictOf(error);
    if (verdict === 'fatal' || (verdict === 'unanswered' && lenient !== true)) throw error;
    if (verdict === 'unanswered' && wanted === undefined)
      warn?.(
        `left out what refers to ${formatRepository(repository)}@${subject}, as signatures and SBOMs do: ${messageOf(error)}`,
      );
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
    const { wanted } = walk;
    for await (const referrer of listed(walk, subject)) {
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
