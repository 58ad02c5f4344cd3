import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Whether a document is one of imgpkg's lock files. */
export function isImgpkg(document: YamlNode): boolean {
  return textOf(valueOf(document, 'apiVersion'))?.startsWith('imgpkg.carvel.dev/') === true;
}

/** Takes the images of an imgpkg `ImagesLock`, or the bundle image of a `BundleLock`. */
export function readImgpkg(document: YamlNode, into: Collector): void {
  const kind = textOf(valueOf(document, 'kind'));
  const take = (image: YamlNode | undefined, line: number): void => {
    const text = textOf(image);
    if (text === undefined) into.problem(line, 'an entry without an image');
    else into.reference(text, image?.line ?? line);
  };
  if (kind === 'ImagesLock') {
    for (const item of itemsOf(valueOf(document, 'images'))) take(valueOf(item, 'image'), item.line);
  } else if (kind === 'BundleLock') {
    const bundle = valueOf(document, 'bundle');
    take(valueOf(bundle, 'image'), document.line);
    into.note(
      document.line,
      'the images that an imgpkg bundle itself names are in its ImagesLock; give that as a list too',
    );
  } else {
    into.problem(document.line, `imgpkg's kind ${JSON.stringify(kind?.slice(0, 80) ?? '')} is not a lock`);
  }
}
