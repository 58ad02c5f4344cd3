import { AirliftError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import { digestOf, type Digest } from './digest.js';
import {
  childOfEntry,
  childrenOf,
  completed,
  platformName,
  withGoNames,
  type ExistingIndex,
  type IndexChild,
  type Json,
} from './index-child.js';
import { attestationSubject, maxManifestSize, parseJsonObject } from './manifest.js';
import { dockerManifest, dockerManifestList, ociIndex } from './media-types.js';

/** An OCI image index, a Docker manifest list, or (`auto`) the latter if all children and fields allow it. */
export type IndexKind = 'oci' | 'docker' | 'auto';

/** A composed index, ready to be pushed. */
export interface ComposedIndex {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

/** Fields of the index itself. */
export interface IndexFields {
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly artifactType?: string | undefined;
  readonly subject?: Descriptor | undefined;
}

/** The result of adding a child; `completed`: the index had it with fewer fields. */
export type Added = 'added' | 'replaced' | 'completed' | 'present';

/** The fields that an entry of a Docker manifest list may have, in the order in which docker writes them. */
const dockerEntryFields = ['mediaType', 'size', 'digest', 'urls', 'platform'];

function sorted(map: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function fitsDocker({ entry, descriptor }: IndexChild): boolean {
  return (
    descriptor.mediaType === dockerManifest &&
    Object.keys(entry).every((name) => dockerEntryFields.includes(name))
  );
}

/** Returns the indentation of JSON and the white space after its end: an edited index keeps both. */
function layoutOf(bytes: Uint8Array): { indent: string; end: string } {
  const text = Buffer.from(bytes).toString('utf8');
  return { indent: /^\s*\{\r?\n([ \t]+)/.exec(text)?.[1] ?? '', end: /\}(\s*)$/.exec(text)?.[1] ?? '' };
}

/**
 * An image index that is being composed or edited (OCI image-spec, image-index.md). Edits keep everything else of an existing index:
 * unknown fields, their order, the indentation; without changes, its exact bytes. The same calls always give the same bytes.
 */
export class IndexDraft {
  readonly #layout: { indent: string; end: string } | undefined;
  #fields: Json;
  #children: IndexChild[];
  #changed: boolean;
  #needsOci = false;

  private constructor(
    private readonly kind: IndexKind,
    private readonly base: ExistingIndex | undefined,
  ) {
    this.#fields = base === undefined ? {} : parseJsonObject(base.bytes, `index ${base.from}`);
    this.#children = base === undefined ? [] : childrenOf(base);
    this.#layout = base === undefined ? undefined : layoutOf(base.bytes);
    this.#changed = base === undefined;
  }

  /** Creates a draft of a new index without children. */
  static create(kind: IndexKind = 'auto'): IndexDraft {
    return new IndexDraft(kind, undefined);
  }

  /**
   * Creates a draft of an existing index. A Docker manifest list stays one as long as the additions allow it.
   * @throws AirliftError `input` if the index is malformed
   */
  static of(index: ExistingIndex): IndexDraft {
    return new IndexDraft('auto', index);
  }

  get children(): readonly IndexChild[] {
    return this.#children;
  }

  /** Whether `finish` returns other bytes than those of the existing index. */
  get isChanged(): boolean {
    return this.#changed;
  }

  /**
   * Adds a child. If the index has the child already, adds only the fields and annotations that it lacks.
   * @param how `replace` removes another image for the same platform, and its attestations
   * @throws AirliftError `conflict` if the index has another image for the platform, or the same image for another platform
   */
  add(child: IndexChild, how: { readonly replace?: boolean | undefined } = {}): Added {
    const { digest } = child.descriptor;
    const same = this.#children.filter((other) => other.descriptor.digest === digest);
    if (same.length > 0) return this.#complete(same, child);
    const { place } = child;
    const rivals = place === undefined ? [] : this.#children.filter((other) => other.place === place);
    const [rival] = rivals;
    if (rival !== undefined && how.replace !== true) {
      throw new AirliftError(
        'conflict',
        `compose index: two images for ${platformName(child.descriptor)}; ` +
          `got ${rival.descriptor.digest} of ${rival.from} and ${digest} of ${child.from}`,
        { hint: 'leave one of them out, or give each its own platform' },
      );
    }
    this.#needsOci ||= !fitsDocker(child);
    this.#changed = true;
    const at = rival === undefined ? this.#children.length : this.#children.indexOf(rival);
    this.#children.splice(at, 0, child);
    if (rival === undefined) return 'added';
    this.remove(new Set(rivals.map(({ descriptor }) => descriptor.digest)));
    return 'replaced';
  }

  #complete(same: readonly IndexChild[], child: IndexChild): Added {
    const [first] = same;
    const got = platformName(child.descriptor);
    const isSilent = ({ descriptor }: IndexChild): boolean => descriptor.platform === undefined;
    const present = isSilent(child)
      ? first
      : same.find((other) => isSilent(other) || platformName(other.descriptor) === got);
    if (present === undefined) {
      throw new AirliftError(
        'conflict',
        `compose index: ${child.descriptor.digest} has two platforms; ` +
          `got ${same.map((other) => `${platformName(other.descriptor)} of ${other.from}`).join(', ')} ` +
          `and ${got} of ${child.from}`,
        { hint: 'both entries are the same image: give it one platform' },
      );
    }
    const whole = completed(present, child);
    if (whole === present) return 'present';
    this.#put(present, whole);
    return 'completed';
  }

  #put(present: IndexChild, child: IndexChild): void {
    this.#children[this.#children.indexOf(present)] = child;
    this.#needsOci ||= fitsDocker(present) && !fitsDocker(child);
    this.#changed = true;
  }

  /**
   * Removes children and their attestations.
   * @returns the removed children
   */
  remove(digests: ReadonlySet<Digest>): IndexChild[] {
    const names: ReadonlySet<string> = digests;
    const isRemoved = ({ descriptor }: IndexChild): boolean =>
      names.has(descriptor.digest) || names.has(descriptor.annotations?.[attestationSubject] ?? '');
    const removed = this.#children.filter(isRemoved);
    this.#children = this.#children.filter((child) => !isRemoved(child));
    this.#changed ||= removed.length > 0;
    return removed;
  }

  /**
   * Sets annotations of a child, over those that it has.
   * @throws AirliftError `not-found` if the index does not have the child
   */
  annotateChild(digest: Digest, annotations: Readonly<Record<string, string>>): void {
    const child = this.#children.find(({ descriptor }) => descriptor.digest === digest);
    if (child === undefined)
      throw new AirliftError('not-found', `annotate ${digest}: not a child of the index`);
    const all = { ...child.descriptor.annotations, ...sorted(annotations) };
    this.#put(child, childOfEntry({ ...child.entry, annotations: all }, child.from));
  }

  /** Sets fields of the index itself. Annotations are merged into the existing ones, other fields replaced. */
  setFields({ annotations, artifactType, subject }: IndexFields): void {
    const set: Record<string, unknown> = {};
    if (artifactType !== undefined) set['artifactType'] = artifactType;
    if (subject !== undefined)
      set['subject'] = { mediaType: subject.mediaType, digest: subject.digest, size: subject.size };
    if (annotations !== undefined && Object.keys(annotations).length > 0)
      set['annotations'] = { ...(this.#fields['annotations'] as Json | undefined), ...sorted(annotations) };
    if (Object.keys(set).length === 0) return;
    this.#fields = { ...this.#fields, ...set };
    this.#needsOci = true;
    this.#changed = true;
  }

  /**
   * Serialises the index. A new one is formatted as docker and oras do: the same children and fields give the same digest.
   * @throws AirliftError `usage` if it has no children, or a Docker manifest list was requested and cannot hold them; `input` if it
   *   is larger than registries accept
   */
  finish(): ComposedIndex {
    if (!this.#changed && this.base !== undefined) {
      return { descriptor: this.base.descriptor, bytes: this.base.bytes };
    }
    if (this.#children.length === 0) throw new AirliftError('usage', 'compose index: no children');
    const mediaType = this.#mediaType();
    const { indent, end } = this.#layout ?? { indent: mediaType === ociIndex ? '' : '   ', end: '' };
    const bytes = Buffer.from(JSON.stringify(this.#json(mediaType), undefined, indent) + end);
    if (bytes.byteLength > maxManifestSize) {
      throw new AirliftError(
        'input',
        `compose index: too large; got ${bytes.byteLength} bytes, want at most ${maxManifestSize}`,
      );
    }
    return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.byteLength }, bytes };
  }

  #mediaType(): string {
    if (this.kind === 'oci') return ociIndex;
    if (!this.#needsOci) return this.base?.descriptor.mediaType ?? dockerManifestList;
    if (this.kind === 'auto') return ociIndex;
    throw new AirliftError('usage', 'compose index: a Docker manifest list cannot hold this index', {
      hint: 'annotations, artifact types, subjects and OCI manifests need an OCI image index',
    });
  }

  #json(mediaType: string): Json {
    if (this.base === undefined) {
      const order = mediaType === ociIndex ? entryOf : dockerEntryOf;
      const { artifactType, subject, annotations } = this.#fields;
      const manifests = this.#children.map(order);
      // JSON.stringify leaves out undefined fields.
      return { schemaVersion: 2, mediaType, artifactType, manifests, subject, annotations };
    }
    const manifests = this.#children.map(entryOf);
    const isNamed = 'mediaType' in this.#fields || mediaType !== this.base.descriptor.mediaType;
    return { ...this.#fields, ...(isNamed ? { mediaType } : {}), manifests };
  }
}

function entryOf({ entry }: IndexChild): Json {
  return withGoNames(entry);
}

function dockerEntryOf(child: IndexChild): Json {
  const entry = withGoNames(child.entry);
  return Object.fromEntries(
    dockerEntryFields.flatMap((name) => (name in entry ? [[name, entry[name]]] : [])),
  );
}
