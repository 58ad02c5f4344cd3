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

/** What an archive says an image is called. */
export interface ImageNames {
  /** Full references. */
  readonly names: readonly string[];
  /** A tag without a repository. */
  readonly tag: string | undefined;
}

/** The tag that crane writes where an image was pulled by digest: it names no version, and every such image has it. */
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

/** The names of an image in `manifest.json`. */
export function namesOfRepoTags(tags: readonly string[], warn: (text: string) => void): ImageNames {
  const names: string[] = [];
  for (const text of tags) {
    // containerd records each image under its id as well.
    if (isImageId(text)) continue;
    const reference = parsed(text, warn);
    if (reference?.tag === craneDigestTag)
      warn(`${text}: the image was pulled by digest and has no name; give it one with \`archives.name\``);
    else if (reference !== undefined) names.push(formatReference(reference));
  }
  return { names: [...new Set(names)], tag: undefined };
}

/**
 * The name of an entry of `index.json`: containerd's annotation, else the image-spec's (image-spec, annotations.md), which
 * may be a whole reference or a tag alone.
 * @param isZarf whether the layout is that of a zarf package
 */
export function nameOfAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  warn: (text: string) => void,
  isZarf = false,
): ImageNames {
  const full = annotations?.['io.containerd.image.name'];
  // Zarf before 0.50 writes the name where others say what an image was built on.
  const baseName = isZarf ? annotations?.['org.opencontainers.image.base.name'] : undefined;
  const refName = annotations?.['org.opencontainers.image.ref.name'] ?? baseName;
  if (full !== undefined && full !== '') return namesOfRepoTags([full], warn);
  if (refName === undefined || refName === '') return { names: [], tag: undefined };
  if (/[/:@]/.test(refName)) return namesOfRepoTags([refName], warn);
  return { names: [], tag: isTag(refName) ? refName : undefined };
}

/** A reference as people write it: without `docker.io/` and `library/`. */
export function familiarName(reference: string): string {
  return reference.replace(/^docker\.io\/(?:library\/)?/, '');
}

/**
 * What an entry of `index.json` is, as `cosign save` and hauler say in its annotation `kind`. Both give what belongs to an image
 * the image's own name, or none at all.
 */
export type EntryRole = 'image' | 'sig' | 'att' | 'sbom' | 'referrer';

const roles: Readonly<Record<string, EntryRole>> = {
  image: 'image',
  imageIndex: 'image',
  sigs: 'sig',
  atts: 'att',
  sboms: 'sbom',
  referrers: 'referrer',
};

/** The role of an entry; undefined where no annotation tells it. */
export function roleOf({ annotations }: Descriptor): EntryRole | undefined {
  // Hauler puts the digest behind the kind of a referrer.
  const [, word = ''] =
    /^dev\.(?:cosignproject\.cosign|hauler)\/(\w+)/.exec(annotations?.['kind'] ?? '') ?? [];
  return Object.hasOwn(roles, word) ? roles[word] : undefined;
}

/** The most bytes of a signature's or attestation's layer that is looked into for what it is about. */
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
 * The digests that a layer of a signature or attestation says it is about (cosign's SIGNATURE_SPEC; in-toto statements, in DSSE
 * envelopes too); none where it says nothing of it, as SBOMs do.
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

/** An entry of the layout, as far as it tells what belongs to what. */
export interface LayoutEntry {
  readonly entry: Descriptor;
  readonly names: ImageNames;
  readonly role: EntryRole | undefined;
  /** Digests of everything below the entry. */
  readonly below: ReadonlySet<Digest>;
  /** The digests that it says it is about. */
  readonly about: readonly Digest[];
}

function isAbout({ entry, below }: LayoutEntry, digest: Digest): boolean {
  return entry.digest === digest || below.has(digest);
}

function repositoriesOf({ names }: ImageNames): string[] {
  return [...new Set(names.map((name) => formatRepository(parseReference(name))))];
}

/**
 * Where cosign looks for a signature, an attestation or an SBOM: the tag `sha256-<hex>.sig`, `.att` or `.sbom` beside the image
 * (cosign's SIGNATURE_SPEC). The image is the one that the content is about, else the one before it that has the same name.
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

/** What a name says that an entry belongs to, where it is one of cosign's tags already. */
export function companionOfNames({ names, tag }: ImageNames): Digest | undefined {
  const tags = names.length > 0 ? names.map((name) => parseReference(name).tag) : [tag];
  const [subject, ...others] = tags.map(subjectOfTag);
  return others.every((other) => other === subject) ? subject : undefined;
}
