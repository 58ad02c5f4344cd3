import { AirliftError } from './errors.js';
import { formatReference, parseReference, type Reference } from './oci/reference.js';

function bad(tag: string, happened: string, hint?: string): never {
  throw new AirliftError('usage', `save --tag ${tag}: ${happened}`, { hint });
}

function newName(text: string): Reference {
  const name = parseReference(text);
  return name.tag === undefined ? bad(text, 'the new name has no tag') : name;
}

/** What images are called in what is saved: by default as in the source. */
export class SaveNames {
  readonly #renames = new Map<string, Reference>();
  readonly #unused = new Set<string>();
  /** New names, and the old one that each was given to. */
  readonly #taken = new Map<string, string>();
  #only: Reference | undefined;

  /**
   * @param tags `OLD=NEW`, or a new name alone where there is one image
   * @param images how many images there are
   * @throws AirliftError `usage` where a name alone is given for several images, or names are malformed
   */
  constructor(tags: readonly string[], images: number) {
    for (const tag of tags) {
      const at = tag.indexOf('=');
      if (at < 0) {
        if (images !== 1 || this.#only !== undefined)
          bad(tag, `a name alone is for one image; got ${images}`, 'write --tag OLD=NEW for each of them');
        this.#only = newName(tag);
      } else {
        const old = formatReference(parseReference(tag.slice(0, at)));
        this.#renames.set(old, newName(tag.slice(at + 1)));
        this.#unused.add(old);
      }
    }
  }

  /** @throws AirliftError `conflict` where another image has the name already */
  nameOf(reference: Reference): Reference {
    const old = formatReference(reference);
    this.#unused.delete(old);
    const name = this.#only ?? this.#renames.get(old) ?? reference;
    const text = formatReference(name);
    const other = this.#taken.get(text) ?? old;
    if (other !== old)
      throw new AirliftError('conflict', `save ${text}: two images of one name; got ${other} and ${old}`);
    this.#taken.set(text, old);
    return name;
  }

  /** @throws AirliftError `usage` where a new name was given for an image that is not there */
  checkUsed(): void {
    for (const old of this.#unused) bad(old, 'no such image');
  }
}
