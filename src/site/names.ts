import { quoted } from '../oci/quoted.js';
import { AirliftError, firstLines, isAirliftError, maxProblemsShown } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import {
  formatReference,
  formatRepository,
  isRegistry,
  isRepositoryPath,
  isTag,
  type Reference,
  type Repository,
} from '../oci/reference.js';
import type { RenameRule } from './rename.js';

/** A registry that images are published to, and what they are called there. */
export interface Site {
  /** Host with optional port. */
  readonly registry: string;
  /** A path that is put in front of every repository. */
  readonly prefix?: string | undefined;
  /** Put the source registry in front of the repository: `SITE/ghcr.io/acme/api`. */
  readonly keepRegistry?: boolean | undefined;
  /** The first rule that fits gives the path; where none does, the source's own is kept. */
  readonly rules?: readonly RenameRule[] | undefined;
}

/** An image that is to be published. */
export interface NamedImage {
  readonly source: Reference;
  /** What is published under the name: the filtered index where there is one. */
  readonly digest: Digest;
  /** The publisher's index where `digest` is a filtered one: pins in manifests name it. */
  readonly original?: Digest | undefined;
  /** The image that the name was made from, `app:1.0` of `app:1.0-arm64`; undefined for names that inputs have. */
  readonly madeFrom?: Reference | undefined;
}

/** An image's name at the source and at the site. */
export interface SiteName extends NamedImage {
  readonly site: Reference;
}

/**
 * Reads where to publish: `HOST[:PORT][/PATH]`.
 * @throws AirliftError `usage` that says what is wrong
 */
export function parseSite(text: string): Site {
  const bad = (happened: string, hint?: string): never => {
    throw new AirliftError('usage', `parse site registry ${quoted(text)}: ${happened}`, { hint });
  };
  if (text.includes('://')) bad('has a scheme', `leave out ${text.slice(0, text.indexOf('://') + 3)}`);
  const [registry = '', ...path] = text.replace(/\/+$/, '').split('/');
  if (!isRegistry(registry)) bad(`${quoted(registry)} is not a registry host`);
  if (!/[.:]/.test(registry) && registry !== 'localhost')
    bad(
      'a host without dot or port means a path of Docker Hub to everybody who pulls',
      `write ${registry}:443`,
    );
  if (path.length === 0) return { registry };
  const prefix = path.join('/');
  if (!isRepositoryPath(prefix)) bad(`${quoted(prefix)} is not a repository path`);
  return { registry, prefix };
}

/** A registry as a component of a path: `localhost:5000` is `localhost_5000`. */
export function registryAsPath(registry: string): string {
  return registry
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, '_')
    .replace(/^_+|_+$/g, '');
}

/**
 * What a repository is called at the site.
 * @throws AirliftError `usage` where the rules make no valid repository of it
 */
export function siteRepository(site: Site, source: Repository): Repository {
  let path =
    site.keepRegistry === true
      ? `${registryAsPath(source.registry)}/${source.repository}`
      : source.repository;
  for (const rule of site.rules ?? []) {
    const renamed = rule.apply(source);
    if (renamed === undefined) continue;
    path = renamed;
    break;
  }
  const repository = site.prefix === undefined ? path : `${site.prefix}/${path}`;
  if (!isRepositoryPath(repository)) {
    throw new AirliftError(
      'usage',
      `name ${formatRepository(source)} at ${site.registry}: ${JSON.stringify(repository.slice(0, 300))} is not a repository path`,
    );
  }
  return { registry: site.registry, repository };
}

/** What an image is called at the site. A name with a digest gets the digest of what is published. */
export function siteReference(site: Site, image: NamedImage): Reference {
  return {
    ...siteRepository(site, image.source),
    tag: image.source.tag,
    digest: image.source.digest === undefined ? undefined : image.digest,
  };
}

function throwAll(
  code: 'usage' | 'conflict',
  what: string,
  problems: readonly string[],
  hint?: string,
): void {
  if (problems.length === 0) return;
  throw new AirliftError(code, what, { hint, lines: firstLines(problems, maxProblemsShown) });
}

/** A name as the error about a conflict prints it. */
function described({ source, madeFrom }: NamedImage): string {
  const made = madeFrom === undefined ? '' : `, made by \`archTags\` from ${formatReference(madeFrom)}`;
  return `${formatReference(source)}${made}`;
}

/**
 * Names all images at the site, in their order. To be called before anything is pushed.
 * @throws AirliftError `usage` that tells every name that is not valid there, `conflict` that tells every tag that would
 *   have to stand for two different digests
 */
export function mapNames(site: Site, images: Iterable<NamedImage>): SiteName[] {
  const names: SiteName[] = [];
  const invalid: string[] = [];
  const byTag = new Map<string, SiteName>();
  const conflicts: string[] = [];
  let hasMade = false;
  for (const image of images) {
    if (!isRegistry(image.source.registry) || !isRepositoryPath(image.source.repository)) {
      invalid.push(`${JSON.stringify(formatReference(image.source).slice(0, 300))} is not a reference`);
      continue;
    }
    let reference;
    try {
      reference = siteReference(site, image);
    } catch (error) {
      if (!isAirliftError(error, 'usage')) throw error;
      invalid.push(error.message);
      continue;
    }
    const { source, digest, madeFrom, original } = image;
    const name: SiteName = { source, site: reference, digest, madeFrom, original };
    names.push(name);
    if (reference.tag === undefined) continue;
    if (!isTag(reference.tag)) {
      invalid.push(
        `${described(name)}: ${quoted(reference.tag)} is no tag; got ${reference.tag.length} characters`,
      );
      continue;
    }
    const key = `${reference.repository}:${reference.tag}`;
    const earlier = byTag.get(key);
    if (earlier === undefined) byTag.set(key, name);
    else if (earlier.digest !== name.digest) {
      conflicts.push(
        `${site.registry}/${key} would be ${described(earlier)} (${earlier.digest}) and ${described(name)} (${name.digest})`,
      );
      hasMade ||= earlier.madeFrom !== undefined || madeFrom !== undefined;
    } else if (earlier.madeFrom !== undefined) byTag.set(key, name);
  }
  throwAll('usage', `name images at ${site.registry}: ${invalid.length} can't be named there`, invalid);
  throwAll(
    'conflict',
    `name images at ${site.registry}: ${conflicts.length} would take a tag from another`,
    conflicts,
    hasMade
      ? 'leave out `archTags`, or give one of the images another path with `rules`'
      : 'keep their registries apart with `keepRegistry`, or give one of them another path with `rules`',
  );
  // A made name that an input has as well, for the same image, is listed once.
  const isOwn = ({ site: { repository, tag = '' }, madeFrom }: SiteName): boolean =>
    madeFrom !== undefined && byTag.get(`${repository}:${tag}`)?.madeFrom === undefined;
  return names.filter((name) => !isOwn(name));
}

/** The site's repositories that take images of several source registries, as sentences for people. */
export function mergedRepositories(names: readonly SiteName[]): string[] {
  const sources = new Map<string, Map<string, string>>();
  for (const { source, site } of names) {
    const target = formatRepository(site);
    const registries = sources.get(target) ?? new Map<string, string>();
    sources.set(target, registries.set(source.registry, formatRepository(source)));
  }
  const merged = [...sources].filter(([, registries]) => registries.size > 1);
  const lines = merged.map(
    ([target, registries]) =>
      `${[...registries.values()].join(' and ')} become one repository, ${target}: whoever asks for one can get a tag of the other`,
  );
  return firstLines(lines, maxProblemsShown);
}
