import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** Reports whether a document is a `zarf.yaml`. */
export function isZarf(document: YamlNode): boolean {
  const kind = textOf(valueOf(document, 'kind'));
  return kind === 'ZarfPackageConfig' || kind === 'ZarfInitConfig';
}

/** Reads the images of every component of a Zarf package, including optional components and all flavors. */
export function readZarf(document: YamlNode, into: Collector): void {
  for (const component of itemsOf(valueOf(document, 'components'))) {
    const name = textOf(valueOf(component, 'name'))?.slice(0, 80) ?? 'without a name';
    for (const image of itemsOf(valueOf(component, 'images'))) {
      const text = textOf(image);
      if (text === undefined) into.problem(image.line, `component ${name}: an image without a name`);
      else if (text.includes('###ZARF_'))
        into.note(
          image.line,
          `component ${name}: ${JSON.stringify(text.slice(0, 160))} contains a variable; add the images it stands for to a text list`,
        );
      else into.reference(text, image.line);
    }
    const imported = valueOf(component, 'import');
    if (imported !== undefined)
      into.note(imported.line, `component ${name} is imported; add its own zarf.yaml as a list`);
  }
}
