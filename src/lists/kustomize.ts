import type { Collector } from './collector.js';
import { joinParts } from './image-object.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Reports whether a document is a kustomization; `apiVersion` and `kind` are optional in one. */
export function isKustomization(document: YamlNode): boolean {
  const kind = textOf(valueOf(document, 'kind'));
  if (kind === 'Kustomization' || kind === 'Component')
    return textOf(valueOf(document, 'apiVersion'))?.startsWith('kustomize.toolkit.fluxcd.io/') !== true;
  const images = itemsOf(valueOf(document, 'images'));
  return (
    kind === undefined &&
    images.length > 0 &&
    images.every(
      (image) =>
        textOf(valueOf(image, 'name')) !== undefined &&
        ['newName', 'newTag', 'digest'].some((key) => valueOf(image, key) !== undefined),
    )
  );
}

/** Reads one entry of `images` (kustomize, ImageTagTransformer): `newName` or `name`, with `newTag` or `digest`. */
export function readNewImage(image: YamlNode, into: Collector): void {
  const name = textOf(valueOf(image, 'newName')) ?? textOf(valueOf(image, 'name'));
  if (name === undefined) {
    into.problem(image.line, 'an image without a name');
    return;
  }
  const tag = textOf(valueOf(image, 'newTag'));
  const digest = textOf(valueOf(image, 'digest'));
  if (tag === undefined && digest === undefined)
    into.note(image.line, `${name} has no tag here; give airlift the output of "kustomize build" as well`);
  else into.reference(joinParts(undefined, name, tag, digest), image.line);
}

/** Reads the images that a kustomization sets, and notes the files that it names. */
export function readKustomization(document: YamlNode, into: Collector): void {
  for (const image of itemsOf(valueOf(document, 'images'))) readNewImage(image, into);
  for (const key of ['resources', 'bases', 'components'])
    for (const item of itemsOf(valueOf(document, key)).slice(0, 1))
      into.note(
        item.line,
        `airlift does not read the files under ${key}; give it the output of "kustomize build"`,
      );
}
