import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Reports whether a document belongs to oc-mirror, version 1 or 2. */
export function isImageSet(document: YamlNode): boolean {
  return textOf(valueOf(document, 'apiVersion'))?.startsWith('mirror.openshift.io/') === true;
}

/** Reads the additional images of an ImageSetConfiguration, and notes what only oc-mirror can resolve. */
export function readImageSet(document: YamlNode, into: Collector): void {
  const kind = textOf(valueOf(document, 'kind')) ?? 'unknown';
  if (kind !== 'ImageSetConfiguration') {
    into.note(document.line, `oc-mirror's ${kind.slice(0, 80)} lists no images`);
    return;
  }
  const mirror = valueOf(document, 'mirror');
  const blocked = new Set(
    itemsOf(valueOf(mirror, 'blockedImages')).flatMap((image) => textOf(valueOf(image, 'name')) ?? []),
  );
  for (const image of itemsOf(valueOf(mirror, 'additionalImages'))) {
    const name = textOf(valueOf(image, 'name'));
    if (name === undefined) into.problem(image.line, 'an additional image without a name');
    else if (blocked.has(name)) into.note(image.line, `${name} is not used: it is in blockedImages`);
    else into.reference(name.replace(/^docker:\/\//, ''), image.line);
  }
  for (const [key, what] of [
    ['operators', 'only the catalog names the images of operators'],
    ['platform', 'only the release payload names the images of OpenShift'],
    ['helm', 'give airlift the output of "helm template" for the images of charts'],
  ] as const) {
    const part = valueOf(mirror, key);
    if (part !== undefined) into.note(part.line, `mirror.${key} is not read: ${what}`);
  }
}
