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

/** What images are called in what is saved: by default as in the source. */
export class SaveNames {
  readonly #renames = new Map<string, Reference>();
  readonly #unused = new Set<string>();
  /** New names, and the image that each was given to. */
  readonly #taken = new Map<string, { readonly old: string; readonly digest: Digest }>();
  #only: Reference | undefined;

  /**
   * @param tags `OLD=NEW`, or a new name alone where there is one image
   * @param images how many images there are
   * @param hasDigests whether what is written keeps digests in names
   * @throws AirliftError `usage` where a name alone is given for several images, or names are malformed
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
   * Gives an image its name.
   * @param digest what the image is
   * @throws AirliftError `conflict` where another image has the name already
   */
  take(reference: Reference, digest: Digest): void {
    const old = formatReference(reference);
    this.#unused.delete(old);
    const name = this.nameOf(reference);
    const isTag = !this.hasDigests && name.tag !== undefined;
    const text = formatReference(isTag ? { ...name, digest: undefined } : name);
    const other = this.#taken.get(text);
    // Where digests are dropped, `app:1` and `app:1@sha256:…` are one name, which is right for one image.
    if (other !== undefined && other.old !== old && !(isTag && other.digest === digest)) {
      throw new AirliftError(
        'conflict',
        `save ${text}: two images would get this name; got ${other.old} and ${old}`,
        { hint: 'give one of them another name with `tags` OLD=NEW, or choose with `images`' },
      );
    }
    this.#taken.set(text, { old, digest });
  }

  /** @throws AirliftError `usage` where a new name was given for an image that is not there */
  checkUsed(): void {
    for (const old of this.#unused) bad(old, 'no such image');
  }
}
