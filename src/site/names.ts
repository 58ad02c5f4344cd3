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

/** A registry to publish to, and the rules for the names of images there. */
export interface Site {
  /** Host with optional port. */
  readonly registry: string;
  /** Path in front of every repository. */
  readonly prefix?: string | undefined;
  /** Whether to add the source registry in front of the repository: `SITE/ghcr.io/acme/api`. */
  readonly keepRegistry?: boolean | undefined;
  /** Rename rules; the first matching rule applies. Without a match, the path of the source is kept. */
  readonly rules?: readonly RenameRule[] | undefined;
}

/** An image to publish. */
export interface NamedImage {
  readonly source: Reference;
  /** The digest to publish under the name: that of the filtered index, if the image has one. */
  readonly digest: Digest;
  /** The publisher's index if `digest` is a filtered index; pins in manifests use it. */
  readonly original?: Digest | undefined;
  /** The image from whose name airlift derived this one: `app:1.0` for `app:1.0-arm64`; undefined for names of inputs. */
  readonly madeFrom?: Reference | undefined;
}

/** An image's name at the source and at the site. */
export interface SiteName extends NamedImage {
  readonly site: Reference;
}

/**
 * Parses a destination: `HOST[:PORT][/PATH]`.
 * @throws AirliftError `usage` if the text is not a valid destination
 */
export function parseSite(text: string): Site {
  const bad = (happened: string, hint?: string): never => {
    throw new AirliftError('usage', `parse site registry ${quoted(text)}: ${happened}`, { hint });
  };
  if (text.includes('://')) bad('has a scheme', `leave out ${text.slice(0, text.indexOf('://') + 3)}`);
  const [registry = '', ...path] = text.replace(/\/+$/, '').split('/');
  if (!isRegistry(registry)) bad(`${quoted(registry)} is not a registry host`);
  if (!/[.:]/.test(registry) && registry !== 'localhost')
    bad('clients read a host without dot or port as a path on Docker Hub', `write ${registry}:443`);
  if (path.length === 0) return { registry };
  const prefix = path.join('/');
  if (!isRepositoryPath(prefix)) bad(`${quoted(prefix)} is not a repository path`);
  return { registry, prefix };
}

/** Formats the registry of a site with its path. */
export function siteText({ registry, prefix }: Site): string {
  return prefix === undefined ? registry : `${registry}/${prefix}`;
}

/** Formats a registry as a path component: `localhost:5000` becomes `localhost_5000`. */
export function registryAsPath(registry: string): string {
  return registry
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, '_')
    .replace(/^_+|_+$/g, '');
}

/**
 * Returns the name of a repository at the site.
 * @throws AirliftError `usage` if the rules give an invalid repository path
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

/** Returns the name of an image at the site. A name with a digest gets the published digest. */
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

/** Formats a name for the error about conflicts. */
function described({ source, madeFrom }: NamedImage): string {
  const made = madeFrom === undefined ? '' : `, made by \`archTags\` from ${formatReference(madeFrom)}`;
  return `${formatReference(source)}${made}`;
}

/**
 * Returns the names of all images at the site, in their order. Call it before anything is pushed.
 * @throws AirliftError `usage` with all invalid names; `conflict` with all tags that would get two digests
 */
export function mapNames(site: Site, images: Iterable<NamedImage>): SiteName[] {
  const names: SiteName[] = [];
  const invalid: string[] = [];
  const byTag = new Map<string, SiteName>();
  const conflicts: string[] = [];
  let hasDerived = false;
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
        `${described(name)}: ${quoted(reference.tag)} is not a valid tag; got ${reference.tag.length} characters`,
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
      hasDerived ||= earlier.madeFrom !== undefined || madeFrom !== undefined;
    } else if (earlier.madeFrom !== undefined) byTag.set(key, name);
  }
  throwAll(
    'usage',
    `name images at ${site.registry}: ${invalid.length} invalid ${invalid.length === 1 ? 'name' : 'names'}`,
    invalid,
  );
  throwAll(
    'conflict',
    `name images at ${site.registry}: ${conflicts.length} tag ${conflicts.length === 1 ? 'conflict' : 'conflicts'}`,
    conflicts,
    hasDerived
      ? 'leave out `archTags`, or give one of the images another path with `rules`'
      : 'keep their registries apart with `keepRegistry`, or give one of them another path with `rules`',
  );
  // If an input already has a derived name for the same image, the name is listed once.
  const isOwn = ({ site: { repository, tag = '' }, madeFrom }: SiteName): boolean =>
    madeFrom !== undefined && byTag.get(`${repository}:${tag}`)?.madeFrom === undefined;
  return names.filter((name) => !isOwn(name));
}

/** Returns a sentence for each repository at the site that gets images of several source registries. */
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
      `${[...registries.values()].join(' and ')} become one repository, ${target}: a node that requests a tag of one may get a tag of the other`,
  );
  return firstLines(lines, maxProblemsShown);
}
