import { isRegistry } from '../oci/reference.js';
import { parsePlatform } from '../oci/platform.js';
import type { Collector } from './collector.js';
import { hasRegistry } from './image-object.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Reports whether a document is a Hauler manifest of any kind. */
export function isHauler(document: YamlNode): boolean {
  return textOf(valueOf(document, 'apiVersion'))?.startsWith('content.hauler.cattle.io/') === true;
}

/**
 * Reads the images of a Hauler manifest of kind `Images` with their platforms. As in Hauler, the annotations
 * `hauler.dev/registry` and `hauler.dev/platform` are the defaults for its images.
 */
export function readHauler(document: YamlNode, into: Collector): void {
  const kind = textOf(valueOf(document, 'kind')) ?? 'unknown';
  if (kind !== 'Images') {
    into.note(document.line, `a Hauler manifest of kind ${kind.slice(0, 80)} lists no images`);
    return;
  }
  const annotations = valueOf(valueOf(document, 'metadata'), 'annotations');
  const defaultRegistry = textOf(valueOf(annotations, 'hauler.dev/registry'));
  const defaultPlatform = textOf(valueOf(annotations, 'hauler.dev/platform'));
  for (const item of itemsOf(valueOf(valueOf(document, 'spec'), 'images'))) {
    const name = textOf(valueOf(item, 'name'));
    if (name === undefined) {
      into.problem(item.line, 'an image without a name');
      continue;
    }
    const registry = textOf(valueOf(item, 'registry')) ?? defaultRegistry;
    const full =
      registry === undefined || !isRegistry(registry) || hasRegistry(name) ? name : `${registry}/${name}`;
    const platform = textOf(valueOf(item, 'platform')) ?? defaultPlatform;
    const platforms =
      platform === undefined || platform === 'all'
        ? undefined
        : into.attempt(item.line, () => [parsePlatform(platform)]);
    if (valueOf(item, 'rewrite') !== undefined)
      into.note(item.line, `the rewrite of ${name} is not applied; rename the image at import`);
    into.reference(full, item.line, { platforms });
  }
}
