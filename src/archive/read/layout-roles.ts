import { subjectOfTag } from '../../oci/companion-tag.js';
import { isObject, type Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, hexOf, isDigest, type Digest } from '../../oci/digest.js';
import { listLimits, parseJson } from '../../oci/json.js';
import { formatRepository, parseReference } from '../../oci/reference.js';
import type { ImageNames } from './image-names.js';

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

function parsed(bytes: Buffer): unknown {
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
  const json = parsed(Buffer.from(layer));
  const signed = at(json, 'critical', 'image', 'docker-manifest-digest');
  const payload = at(json, 'payload');
  const envelope = typeof payload === 'string' ? parsed(Buffer.from(payload, 'base64')) : json;
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
