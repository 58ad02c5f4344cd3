import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Whether a document is oc-mirror's, of version 1 or 2. */
export function isImageSet(document: YamlNode): boolean {
  return textOf(valueOf(document, 'apiVersion'))?.startsWith('mirror.openshift.io/') === true;
}

/** Takes the additional images of an ImageSetConfiguration, and says what only oc-mirror itself can resolve. */
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
    else if (blocked.has(name)) into.note(image.line, `${name} is blocked by the list itself`);
    else into.reference(name.replace(/^docker:\/\//, ''), image.line);
  }
  for (const [key, what] of [
    ['operators', 'the images of operators are known to their catalog alone'],
    ['platform', 'the images of an OpenShift release are known to its payload alone'],
    ['helm', 'the images of charts are named by "helm template"'],
  ] as const) {
    const part = valueOf(mirror, key);
    if (part !== undefined) into.note(part.line, `mirror.${key} was not read: ${what}`);
  }
}
