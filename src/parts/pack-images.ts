import type { Catalog } from '../bundle/format/catalog.js';
import {
  emptyHeadLength,
  ImageContents,
  placesLength,
  type ContentBlob,
} from '../bundle/format/image-contents.js';
import { maxParts } from '../bundle/format/part.js';
import { AirliftError, checkInterrupted, firstLines, maxProblemsShown } from '../errors.js';
import { formatReference } from '../oci/reference.js';
import { endLength } from '../tar/header.js';

export interface PackOptions {
  /** The most bytes of a part. */
  readonly partSize: number;
  /** Each part carries all of its layers; otherwise a layer is only in the first part that needs it. */
  readonly wholeParts: boolean;
  /** Name of the bundle in messages. */
  readonly bundle: string;
  readonly signal?: AbortSignal | undefined;
}

/** The images of a part. */
export interface PackedPart {
  /** References, signatures under tags included. */
  readonly images: ReadonlySet<string>;
  /** Numbers of the earlier parts that carry layers of these images. */
  readonly needs: readonly number[];
}

/** Images that stay together: one of the list, with the signatures under tags that belong to it. */
interface Group {
  readonly references: readonly string[];
  readonly blobs: readonly ContentBlob[];
  readonly headLength: number;
}

/** A part that images are added to. */
interface OpenPart {
  readonly images: Set<string>;
  readonly blobs: Set<number>;
  /** Those of the blobs that are layers which the bundle carries. */
  readonly layers: Set<number>;
  /** An upper bound of the bytes of the file. */
  length: number;
}

/** Bytes of the head for each earlier part that a part names as its base. */
const baseLength = 256;

/**
 * Divides the images of a bundle into parts of a limited size. No image is in two parts, and its signatures are in the same one. An image
 * goes to the part with which it shares the most bytes among those that have room for it, or to a new one. The same bundle and options give
 * the same parts.
 * @throws AirliftError `usage` if an image needs more than a part can hold, with the smallest size that works; `interrupted`
 */
export function packImages(catalog: Catalog, options: PackOptions): PackedPart[] {
  let longestName = 0;
  for (const { reference } of catalog.images())
    longestName = Math.max(longestName, formatReference(reference).length);
  const packer = new Packer(options, placesLength(longestName));
  for (const group of groupsOf(catalog, options.signal)) packer.add(group);
  return packer.parts();
}

/** Yields the images of a catalog by reference, each with the signatures that belong to it. */
function* groupsOf(catalog: Catalog, signal: AbortSignal | undefined): Iterable<Group> {
  const contents = new ImageContents(catalog);
  const companions = new Map<string, string[]>();
  const belonging = new Set<string>();
  for (const { reference, companionOf } of catalog.images()) {
    if (companionOf === undefined) continue;
    const [owner] = catalog.imagesWith(companionOf, 1);
    const name = formatReference(reference);
    if (owner === undefined || owner === name) continue;
    companions.set(owner, [...(companions.get(owner) ?? []), name]);
    belonging.add(name);
  }
  for (const { reference } of catalog.images()) {
    checkInterrupted(signal, 'divide the images');
    const name = formatReference(reference);
    if (belonging.has(name)) continue;
    const references = [name];
    // A signature can have signatures of its own.
    for (const one of references) references.push(...(companions.get(one) ?? []));
    const blobs = new Map<number, ContentBlob>();
    let headLength = 0;
    for (const one of references) {
      const content = contents.of(one);
      headLength += content.headLength;
      for (const blob of content.blobs) blobs.set(blob.id, blob);
    }
    yield { references, blobs: [...blobs.values()], headLength };
  }
}

class Packer {
  readonly #parts: OpenPart[] = [];
  /** The first part with each layer, counted from 0. */
  readonly #first = new Map<number, number>();
  readonly #tooLarge: { readonly image: string; readonly length: number }[] = [];

  constructor(
    private readonly options: PackOptions,
    /** An upper bound of the bytes that say where the site has a layer. */
    private readonly placesLength: number,
  ) {}

  add(group: Group): void {
    let best: { readonly part: OpenPart; readonly at: number; readonly shared: number } | undefined;
    for (const [at, part] of this.#parts.entries()) {
      if (part.length + this.#growth(group, part, at) > this.options.partSize) continue;
      const shared = sharedBytes(group, part);
      if (best === undefined || shared > best.shared) best = { part, at, shared };
    }
    if (best !== undefined) return this.#put(group, best.part, best.at);
    const at = this.#parts.length;
    const length = emptyHeadLength + endLength + at * baseLength;
    // As if no other part had its layers: whether an image fits does not depend on the other images.
    const needed = group.blobs.reduce(
      (sum, blob) => sum + this.#carriedLength(blob),
      length + group.headLength,
    );
    if (needed > this.options.partSize) {
      this.#tooLarge.push({ image: group.references[0] ?? '', length: needed });
      return;
    }
    const part: OpenPart = { images: new Set(), blobs: new Set(), layers: new Set(), length };
    this.#parts.push(part);
    this.#put(group, part, at);
  }

  /** Returns the bytes by which a part grows with a group. */
  #growth({ blobs, headLength }: Group, part: OpenPart, at: number): number {
    let growth = headLength;
    for (const blob of blobs) {
      if (part.blobs.has(blob.id)) continue;
      const isElsewhere = blob.isLayer && !this.options.wholeParts && (this.#first.get(blob.id) ?? at) < at;
      growth += isElsewhere ? blob.headLength + this.placesLength : this.#carriedLength(blob);
    }
    return growth;
  }

  /** Returns the bytes of a blob in the first part that needs it. A later image can make an earlier part carry it instead of this one. */
  #carriedLength({ isLayer, headLength, length }: ContentBlob): number {
    return headLength + (isLayer ? Math.max(length, this.placesLength) : length);
  }

  #put(group: Group, part: OpenPart, at: number): void {
    part.length += this.#growth(group, part, at);
    for (const name of group.references) part.images.add(name);
    for (const { id, isLayer, length } of group.blobs) {
      part.blobs.add(id);
      if (!isLayer || length === 0) continue;
      part.layers.add(id);
      this.#first.set(id, Math.min(this.#first.get(id) ?? at, at));
    }
  }

  /** @throws AirliftError `usage` as `packImages` */
  parts(): PackedPart[] {
    const { bundle, partSize, wholeParts } = this.options;
    this.#refuseTooLarge();
    if (this.#parts.length > maxParts)
      throw new AirliftError(
        'usage',
        `divide ${bundle}: ${this.#parts.length} parts of ${partSize} bytes; a set has at most ${maxParts}`,
        { hint: 'choose a larger `partSize`' },
      );
    return this.#parts.map(({ images, layers }, at) => {
      const needs = new Set<number>();
      for (const id of wholeParts ? [] : layers) {
        const first = this.#first.get(id) ?? at;
        if (first < at) needs.add(first + 1);
      }
      return { images, needs: [...needs].sort((a, b) => a - b) };
    });
  }

  #refuseTooLarge(): void {
    if (this.#tooLarge.length === 0) return;
    const { bundle, partSize } = this.options;
    const smallest = Math.max(...this.#tooLarge.map(({ length }) => length));
    const count = this.#tooLarge.length;
    throw new AirliftError(
      'usage',
      `divide ${bundle}: ${count === 1 ? 'one image does' : `${count} images do`} not fit a part of ${partSize} bytes`,
      {
        lines: firstLines(
          this.#tooLarge.map(({ image, length }) => `${image} needs ${length} bytes`),
          maxProblemsShown,
        ),
        hint: `the smallest \`partSize\` that works is ${smallest}`,
      },
    );
  }
}

/** Returns the bytes of blobs that a part has already. */
function sharedBytes({ blobs }: Group, part: OpenPart): number {
  return blobs.reduce((sum, { id, length }) => sum + (part.blobs.has(id) ? length : 0), 0);
}
