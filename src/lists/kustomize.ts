import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Whether a document is a kustomization; `apiVersion` and `kind` may be left out of one. */
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

/** Takes the images that a kustomization puts in (kustomize, `images`): `newName` or `name`, with `newTag` or `digest`. */
export function readKustomization(document: YamlNode, into: Collector): void {
  for (const image of itemsOf(valueOf(document, 'images'))) {
    const name = textOf(valueOf(image, 'newName')) ?? textOf(valueOf(image, 'name'));
    if (name === undefined) {
      into.problem(image.line, 'an image without a name');
      continue;
    }
    const tag = textOf(valueOf(image, 'newTag'));
    const digest = textOf(valueOf(image, 'digest'));
    if (tag === undefined && digest === undefined)
      into.note(image.line, `${name} has no tag here: give airlift the output of "kustomize build" as well`);
    else
      into.reference(
        `${name}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`,
        image.line,
      );
  }
  for (const key of ['resources', 'bases', 'components'])
    for (const item of itemsOf(valueOf(document, key)).slice(0, 1))
      into.note(
        item.line,
        `the files under ${key} are not read: give airlift the output of "kustomize build"`,
      );
}
