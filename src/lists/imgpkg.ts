import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Reports whether a document is a lock file of imgpkg. */
export function isImgpkg(document: YamlNode): boolean {
  return textOf(valueOf(document, 'apiVersion'))?.startsWith('imgpkg.carvel.dev/') === true;
}

/** Reads the images of an imgpkg `ImagesLock`, or the bundle image of a `BundleLock`. */
export function readImgpkg(document: YamlNode, into: Collector): void {
  const kind = textOf(valueOf(document, 'kind'));
  const readImage = (image: YamlNode | undefined, line: number): void => {
    const text = textOf(image);
    if (text === undefined) into.problem(line, 'an entry without an image');
    else into.reference(text, image?.line ?? line);
  };
  if (kind === 'ImagesLock') {
    for (const item of itemsOf(valueOf(document, 'images'))) readImage(valueOf(item, 'image'), item.line);
  } else if (kind === 'BundleLock') {
    const bundle = valueOf(document, 'bundle');
    readImage(valueOf(bundle, 'image'), document.line);
    into.note(
      document.line,
      'the images in an imgpkg bundle are listed in its ImagesLock; add that as a list',
    );
  } else {
    into.problem(document.line, `the imgpkg kind ${JSON.stringify(kind?.slice(0, 80) ?? '')} is not a lock`);
  }
}
