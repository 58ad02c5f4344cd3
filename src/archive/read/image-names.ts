import { isAirliftError } from '../../errors.js';
import { subjectOfTag } from '../../oci/companion-tag.js';
import { isObject, type Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, hexOf, isDigest, type Digest } from '../../oci/digest.js';
import { listLimits, parseJson } from '../../oci/json.js';
import {
  formatReference,
  formatRepository,
  isImageId,
  isTag,
  parseReference,
  type Reference,
} from '../../oci/reference.js';

/** The names of an image in its archive. */
export interface ImageNames {
  /** Full references. */
  readonly names: readonly string[];
  /** A tag without a repository, if the archive states no more. */
  readonly tag: string | undefined;
}

/** The tag that crane writes for every image that was pulled by digest. */
const craneDigestTag = 'i-was-a-digest';

function parsed(text: string, warn: (happened: string) => void): Reference | undefined {
  try {
    return parseReference(text);
  } catch (error) {
    if (!isAirliftError(error, 'usage')) throw error;
    warn(error.message);
    return undefined;
  }
}

/** Returns the names of an image in `manifest.json`. */
export function namesOfRepoTags(tags: readonly string[], warn: (text: string) => void): ImageNames {
  const names: string[] = [];
  for (const text of tags) {
    // containerd also records each image under its id.
    if (isImageId(text)) continue;
    const reference = parsed(text, warn);
    if (reference?.tag === craneDigestTag)
      warn(`${text}: the image was pulled by digest and has no name; give it one with \`archives.name\``);
    else if (reference !== undefined) names.push(formatReference(reference));
  }
  return { names: [...new Set(names)], tag: undefined };
}

/**
 * Returns the names of an entry of `index.json`: containerd's annotation, else the one of the image-spec (annotations.md), which may be a
 * full reference or only a tag.
 * @param isZarf whether the layout belongs to a zarf package
 */
export function nameOfAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  warn: (text: string) => void,
  isZarf = false,
): ImageNames {
  const full = annotations?.['io.containerd.image.name'];
  // Zarf before 0.50 writes the name into the annotation for the base image.
  const baseName = isZarf ? annotations?.['org.opencontainers.image.base.name'] : undefined;
  const refName = annotations?.['org.opencontainers.image.ref.name'] ?? baseName;
  if (full !== undefined && full !== '') return namesOfRepoTags([full], warn);
  if (refName === undefined || refName === '') return { names: [], tag: undefined };
  if (/[/:@]/.test(refName)) return namesOfRepoTags([refName], warn);
  return { names: [], tag: isTag(refName) ? refName : undefined };
}

/**
 * Returns the names of an entry of `index.json`, without names by digest that add nothing. In a file for nodes, `REPOSITORY@DIGEST` may be
 * the digest of an index that the file does not hold, so that a pod which pins it finds the image for its platform.
 * @param others names of all entries of the same digest
 */
export function withoutPins(
  digest: Digest,
  { names, tag }: ImageNames,
  others: readonly string[],
): ImageNames {
  const tagged = new Set(others.map(parseReference).filter(hasTag).map(formatRepository));
  const kept = names.map(parseReference).flatMap((name) => {
    if (hasTag(name)) return [formatReference(name)];
    return tagged.has(formatRepository(name)) ? [] : [formatReference({ ...name, digest })];
  });
  return { names: [...new Set(kept)], tag };
}

function hasTag({ tag }: Reference): boolean {
  return tag !== undefined;
}

/** Returns the short form of a reference, without `docker.io/` and `library/`. */
export function familiarName(reference: string): string {
  return reference.replace(/^docker\.io\/(?:library\/)?/, '');
}

/**
 * The role of an entry of `index.json`, as stated by `cosign save` and hauler in the annotation `kind`. Both give the signatures of an
 * image the name of the image, or no name.
 */
type EntryRole = 'image' | 'sig' | 'att' | 'sbom' | 'referrer';

const roles: Readonly<Record<string, EntryRole>> = {
  image: 'image',
  imageIndex: 'image',
  sigs: 'sig',
  atts: 'att',
  sboms: 'sbom',
  referrers: 'referrer',
};

/** Returns the role of an entry; undefined where no annotation states it. */
export function roleOf({ annotations }: Descriptor): EntryRole | undefined {
  // Hauler appends the digest to the kind of a referrer.
  const [, word = ''] =
    /^dev\.(?:cosignproject\.cosign|hauler)\/(\w+)/.exec(annotations?.['kind'] ?? '') ?? [];
  return Object.hasOwn(roles, word) ? roles[word] : undefined;
}

/** The most bytes of a signature's or attestation's layer that is read to find its subject. */
export const maxPayloadSize = 16 * 1024 * 1024;

function parsedPayload(bytes: Buffer): unknown {
  try {
    return parseJson(bytes, 'payload', listLimits);
  } catch {
    return undefined;
  }
}

function at(value: unknown, ...path: string[]): unknown {
  return path.reduce((inner, key) => (isObject(inner) ? inner[key] : undefined), value);
}

/**
 * Returns the digests that the layer of a signature or attestation names as its subject (cosign's SIGNATURE_SPEC; in-toto statements, also
 * in DSSE envelopes); empty where it names none, as in SBOMs.
 */
export function subjectsOfPayload(layer: Uint8Array): Digest[] {
  const json = parsedPayload(Buffer.from(layer));
  const signed = at(json, 'critical', 'image', 'docker-manifest-digest');
  const payload = at(json, 'payload');
  const envelope = typeof payload === 'string' ? parsedPayload(Buffer.from(payload, 'base64')) : json;
  const subjects = at(envelope, 'subject');
  const about = (Array.isArray(subjects) ? subjects : []).map(
    (subject) => `sha256:${String(at(subject, 'digest', 'sha256'))}`,
  );
  return [signed, ...about].filter(isDigest);
}

/** An entry of a layout, with what is needed to find the image it belongs to. */
export interface LayoutEntry {
  readonly entry: Descriptor;
  readonly names: ImageNames;
  readonly role: EntryRole | undefined;
  /** Digests of all content below the entry. */
  readonly below: ReadonlySet<Digest>;
  /** The digests that its content names as subjects. */
  readonly about: readonly Digest[];
}

function isAbout({ entry, below }: LayoutEntry, digest: Digest): boolean {
  return entry.digest === digest || below.has(digest);
}

function repositoriesOf({ names }: ImageNames): string[] {
  return [...new Set(names.map((name) => formatRepository(parseReference(name))))];
}

/**
 * Returns the names under which cosign looks for a signature, an attestation or an SBOM: the tag `sha256-<hex>.sig`, `.att` or `.sbom` in
 * the repository of the image (cosign's SIGNATURE_SPEC). The image is the subject of the content, else the preceding one of the same name.
 * @returns undefined where neither is known
 */
export function companionNames(
  companion: LayoutEntry,
  entries: readonly LayoutEntry[],
): (ImageNames & { readonly companionOf: Digest }) | undefined {
  const { names, role, about } = companion;
  const images = entries.filter((other) => other.role === 'image' || other.role === undefined);
  const stated = about.find((digest) => images.some((image) => isAbout(image, digest))) ?? about[0];
  const before = images.filter((image) => entries.indexOf(image) < entries.indexOf(companion));
  const key = names.names.join(' ');
  const named = before.findLast((image) => image.names.names.join(' ') === key);
  const subject = stated ?? named?.entry.digest;
  if (subject === undefined) return undefined;
  const tag = `${algorithmOf(subject)}-${hexOf(subject)}.${role}`;
  const beside = images
    .filter((image) => isAbout(image, subject))
    .flatMap((image) => repositoriesOf(image.names));
  const repositories = beside.length > 0 ? [...new Set(beside)] : repositoriesOf(names);
  return { names: repositories.map((repository) => `${repository}:${tag}`), tag, companionOf: subject };
}

/** Returns the digest of the image that an entry belongs to, if its name has one of cosign's tags. */
export function companionOfNames({ names, tag }: ImageNames): Digest | undefined {
  const tags = names.length > 0 ? names.map((name) => parseReference(name).tag) : [tag];
  const [subject, ...others] = tags.map(subjectOfTag);
  return others.every((other) => other === subject) ? subject : undefined;
}
