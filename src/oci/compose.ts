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

/** An OCI image index, Docker's manifest list, or the latter where all children are Docker's and nothing else forbids it. */
export type IndexKind = 'oci' | 'docker' | 'auto';

/** An index that was put together, ready to be pushed. */
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

/** What became of a child that was added. `completed`: it was there, with fewer fields. */
export type Added = 'added' | 'replaced' | 'completed' | 'present';

/** All that an entry of a Docker manifest list may have, in the order in which docker writes it. */
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

/** Spaces or tabs by which JSON is indented, and what follows its end: an index that is altered keeps both. */
function layoutOf(bytes: Uint8Array): { indent: string; end: string } {
  const text = Buffer.from(bytes).toString('utf8');
  return { indent: /^\s*\{\r?\n([ \t]+)/.exec(text)?.[1] ?? '', end: /\}(\s*)$/.exec(text)?.[1] ?? '' };
}

/**
 * An image index being put together or altered (OCI image-spec, image-index.md). Of an index that exists, everything stays
 * that is not changed here: unknown fields, their order, the indentation; where nothing was changed, its very bytes. The same
 * calls always give the same bytes.
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

  /** A new index without children. */
  static create(kind: IndexKind = 'auto'): IndexDraft {
    return new IndexDraft(kind, undefined);
  }

  /**
   * An index that exists, to be altered. It stays a Docker manifest list as long as what is added allows.
   * @throws AirliftError `input` where it is malformed
   */
  static of(index: ExistingIndex): IndexDraft {
    return new IndexDraft('auto', index);
  }

  get children(): readonly IndexChild[] {
    return this.#children;
  }

  /** Whether `finish` gives other bytes than those of the index that this began as. */
  get isChanged(): boolean {
    return this.#changed;
  }

  /**
   * Adds a child. One that is there already stays one child, and gets the fields and annotations that it lacks.
   * @param how `replace` puts it in the place of another image for its platform, whose attestations go with it
   * @throws AirliftError `conflict` where another image is there for its platform, or the same one under another platform
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
    const there = isSilent(child)
      ? first
      : same.find((other) => isSilent(other) || platformName(other.descriptor) === got);
    if (there === undefined) {
      throw new AirliftError(
        'conflict',
        `compose index: ${child.descriptor.digest} has two platforms; ` +
          `got ${same.map((other) => `${platformName(other.descriptor)} of ${other.from}`).join(', ')} ` +
          `and ${got} of ${child.from}`,
        { hint: 'both entries are the same image: give it one platform' },
      );
    }
    const whole = completed(there, child);
    if (whole === there) return 'present';
    this.#put(there, whole);
    return 'completed';
  }

  #put(there: IndexChild, child: IndexChild): void {
    this.#children[this.#children.indexOf(there)] = child;
    this.#needsOci ||= fitsDocker(there) && !fitsDocker(child);
    this.#changed = true;
  }

  /**
   * Takes children out, and the attestations of those taken out with them.
   * @returns what was taken out
   */
  remove(digests: ReadonlySet<Digest>): IndexChild[] {
    const names: ReadonlySet<string> = digests;
    const goes = ({ descriptor }: IndexChild): boolean =>
      names.has(descriptor.digest) || names.has(descriptor.annotations?.[attestationSubject] ?? '');
    const gone = this.#children.filter(goes);
    this.#children = this.#children.filter((child) => !goes(child));
    this.#changed ||= gone.length > 0;
    return gone;
  }

  /**
   * Puts annotations on a child, over those that it has.
   * @throws AirliftError `not-found` where it is not there
   */
  annotateChild(digest: Digest, annotations: Readonly<Record<string, string>>): void {
    const child = this.#children.find(({ descriptor }) => descriptor.digest === digest);
    if (child === undefined)
      throw new AirliftError('not-found', `annotate ${digest}: not a child of the index`);
    const all = { ...child.descriptor.annotations, ...sorted(annotations) };
    this.#put(child, childOfEntry({ ...child.entry, annotations: all }, child.from));
  }

  /** Sets fields of the index itself: annotations over those it has, the others in place of what it has. */
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
   * The index as bytes. A new one is written as docker and oras write theirs: the same children and fields give the same digest.
   * @throws AirliftError `usage` where it has no children, or a Docker manifest list was asked for and can't hold them;
   *   `input` where it is larger than registries take
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
      const order = mediaType === ociIndex ? asTheyStand : asDockerWrites;
      const { artifactType, subject, annotations } = this.#fields;
      const manifests = this.#children.map(order);
      // JSON.stringify leaves out what is undefined.
      return { schemaVersion: 2, mediaType, artifactType, manifests, subject, annotations };
    }
    const manifests = this.#children.map(asTheyStand);
    const isNamed = 'mediaType' in this.#fields || mediaType !== this.base.descriptor.mediaType;
    return { ...this.#fields, ...(isNamed ? { mediaType } : {}), manifests };
  }
}

function asTheyStand({ entry }: IndexChild): Json {
  return withGoNames(entry);
}

function asDockerWrites(child: IndexChild): Json {
  const entry = withGoNames(child.entry);
  return Object.fromEntries(
    dockerEntryFields.flatMap((name) => (name in entry ? [[name, entry[name]]] : [])),
  );
}
