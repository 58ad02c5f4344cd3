import { isAirliftError } from '../../errors.js';
import { formatReference, isImageId, isTag, parseReference, type Reference } from '../../oci/reference.js';

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
      warn(`${text}: was pulled by digest and has no name; give it one with --name`);
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
