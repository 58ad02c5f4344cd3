import { quoted } from '../oci/quoted.js';
import { isDigest } from '../oci/digest.js';
import { isRegistry, parseReference, type Repository } from '../oci/reference.js';
import { parseTagPattern } from './tags.js';
import type { Collector } from './collector.js';
import { entriesOf, itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

const contentKeys = ['images', 'images-by-tag-regex', 'images-by-semver'] as const;

/** Reports whether a document is a list for `skopeo sync --src yaml`: registries, each with images or patterns. */
export function isSkopeoSync(document: YamlNode): boolean {
  const registries = entriesOf(document);
  return (
    registries.length > 0 &&
    registries.every(
      ([name, registry]) =>
        isRegistry(name) &&
        registry.kind === 'map' &&
        contentKeys.some((key) => valueOf(registry, key)?.kind === 'map'),
    )
  );
}

function readRegistry(registry: string, node: YamlNode, into: Collector): void {
  if (!/[.:]/.test(registry) && registry !== 'localhost') {
    // skopeo accepts any word as a host; in a reference, such a word would be a path on Docker Hub.
    into.problem(node.line, `the registry ${quoted(registry)} has neither a dot nor a port in its name`);
    return;
  }
  const repositoryAt = (name: string, line: number): Repository | undefined =>
    into.attempt(line, () => {
      const reference = parseReference(`${registry}/${name}`);
      return { registry: reference.registry, repository: reference.repository };
    });
  for (const [name, tags] of entriesOf(valueOf(node, 'images'))) {
    const repository = repositoryAt(name, tags.line);
    if (repository === undefined) continue;
    if (itemsOf(tags).length === 0) into.pattern(repository, 'all', tags.line);
    for (const item of itemsOf(tags)) {
      const tag = textOf(item);
      if (tag === undefined) into.problem(item.line, `a tag of ${registry}/${name} is not text`);
      else into.reference(`${registry}/${name}${isDigest(tag) ? '@' : ':'}${tag}`, item.line);
    }
  }
  for (const [key, scheme] of [
    ['images-by-tag-regex', 'regex'],
    ['images-by-semver', 'semver'],
  ] as const) {
    for (const [name, value] of entriesOf(valueOf(node, key))) {
      const repository = repositoryAt(name, value.line);
      const pattern = `${scheme}:${textOf(value) ?? ''}`;
      if (repository === undefined || into.attempt(value.line, () => parseTagPattern(pattern)) === undefined)
        continue;
      into.pattern(repository, pattern, value.line);
    }
  }
  const credentials = valueOf(node, 'credentials');
  if (credentials !== undefined)
    into.note(credentials.line, `the credentials for ${registry} in the list are not used; log in instead`);
}

/** Reads images and tag patterns of a list for `skopeo sync` (skopeo-sync(1), "YAML file content"). */
export function readSkopeoSync(document: YamlNode, into: Collector): void {
  for (const [registry, node] of entriesOf(document)) readRegistry(registry, node, into);
}
