import { AirliftError } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';

function bad(tag: string, happened: string, hint?: string): never {
  throw new AirliftError('usage', `save \`tags\` ${tag}: ${happened}`, { hint });
}

function newName(text: string): Reference {
  const name = parseReference(text);
  return name.tag === undefined ? bad(text, 'the new name has no tag') : name;
}

/** The names of images in the output; default: their names in the source. */
export class SaveNames {
  readonly #renames = new Map<string, Reference>();
  readonly #unused = new Set<string>();
  /** The image that has each new name. */
  readonly #assigned = new Map<string, { readonly old: string; readonly digest: Digest }>();
  #only: Reference | undefined;

  /**
   * @param tags `OLD=NEW`, or only `NEW` for a single image
   * @param images the number of images
   * @param hasDigests whether the output keeps digests in names
   * @throws AirliftError `usage` if only `NEW` is given for several images, or names are malformed
   */
  constructor(
    tags: readonly string[],
    images: number,
    private readonly hasDigests: boolean,
  ) {
    for (const tag of tags) {
      const at = tag.indexOf('=');
      if (at < 0) {
        if (images !== 1 || this.#only !== undefined)
          bad(
            tag,
            `a new name without OLD= needs exactly one image; got ${images}`,
            'write `tags` OLD=NEW for each of them',
          );
        this.#only = newName(tag);
      } else {
        const old = formatReference(parseReference(tag.slice(0, at)));
        this.#renames.set(old, newName(tag.slice(at + 1)));
        this.#unused.add(old);
      }
    }
  }

  nameOf(reference: Reference): Reference {
    return this.#only ?? this.#renames.get(formatReference(reference)) ?? reference;
  }

  /**
   * Assigns an image its name.
   * @param digest the digest of the image
   * @throws AirliftError `conflict` if another image has the name already
   */
  assign(reference: Reference, digest: Digest): void {
    const old = formatReference(reference);
    this.#unused.delete(old);
    const name = this.nameOf(reference);
    const isTag = !this.hasDigests && name.tag !== undefined;
    const text = formatReference(isTag ? { ...name, digest: undefined } : name);
    const other = this.#assigned.get(text);
    // Without digests, `app:1` and `app:1@sha256:…` are the same name. That is no conflict if they are the same image.
    if (other !== undefined && other.old !== old && !(isTag && other.digest === digest)) {
      throw new AirliftError(
        'conflict',
        `save ${text}: two images would get this name; got ${other.old} and ${old}`,
        { hint: 'give one of them another name with `tags` OLD=NEW, or choose with `images`' },
      );
    }
    this.#assigned.set(text, { old, digest });
  }

  /** @throws AirliftError `usage` if a new name is for an image that does not exist */
  checkUsed(): void {
    for (const old of this.#unused) bad(old, 'no such image');
  }
}
