import { AirliftError } from '../errors.js';
import type { Collector } from './collector.js';
import { entriesOf, itemsOf, textOf, valueOf, type YamlMap, type YamlNode } from './yaml.js';

/** The lists of containers in a pod spec (Kubernetes API, core/v1 PodSpec). */
const containerKeys = ['initContainers', 'containers', 'ephemeralContainers'] as const;

/** Aliases let a small file stand for an endless tree: how much of it is walked, and how deep. */
const maxVisited = 5_000_000;
const maxWalkDepth = 400;

/** Whether a document is a Kubernetes resource, a list of them among others. */
export function isKubernetes(document: YamlNode): boolean {
  return (
    textOf(valueOf(document, 'apiVersion')) !== undefined && textOf(valueOf(document, 'kind')) !== undefined
  );
}

/** A container's image, or a note why there is none to take. */
function readContainer(container: YamlNode, into: Collector): void {
  if (container.kind !== 'map') return;
  const name = textOf(valueOf(container, 'name'))?.slice(0, 80) ?? 'without a name';
  const image = valueOf(container, 'image');
  const text = textOf(image);
  if (text === 'auto') {
    // Istio's injector puts its proxy in the place of this word (gateways, custom sidecars).
    into.note(container.line, `container ${name}: its image, "auto", is filled in by Istio at the site`);
  } else if (text !== undefined) {
    into.reference(text, image?.line ?? container.line);
  } else if (image !== undefined && image.kind !== 'scalar') {
    into.problem(image.line, `the image of container ${name} is not text`);
  } else {
    into.note(container.line, `container ${name} names no image`);
  }
}

/** A list is one of containers when all of its items are maps and one of them names an image or could. */
function isContainerList(node: YamlNode | undefined): boolean {
  const items = itemsOf(node);
  return (
    items.length > 0 &&
    items.every((item) => item.kind === 'map') &&
    items.some((item) => valueOf(item, 'image') !== undefined)
  );
}

class Walk {
  #visited = 0;

  constructor(readonly into: Collector) {}

  #visit(node: YamlNode, depth: number): void {
    if (++this.#visited > maxVisited || depth > maxWalkDepth) {
      throw new AirliftError('usage', `read ${this.into.file}:${node.line}: YAML aliases expand too far`);
    }
  }

  /** Reads a pod spec's containers and image volumes; everything else in it is left to `walk`. */
  #podSpec(spec: YamlMap): void {
    for (const key of containerKeys) {
      const list = valueOf(spec, key);
      if (!isContainerList(list)) continue;
      for (const container of itemsOf(list)) readContainer(container, this.into);
    }
    for (const volume of itemsOf(valueOf(spec, 'volumes'))) {
      const reference = valueOf(valueOf(volume, 'image'), 'reference');
      const text = textOf(reference);
      if (text !== undefined) this.into.reference(text, reference?.line ?? volume.line);
    }
  }

  walk(node: YamlNode, path: string, depth: number): void {
    this.#visit(node, depth);
    if (node.kind === 'scalar') return;
    if (node.kind === 'list') {
      for (const item of node.items) this.walk(item, path, depth + 1);
      return;
    }
    const resource = isKubernetes(node);
    if (resource && textOf(valueOf(node, 'kind')) === 'CustomResourceDefinition') return;
    const podSpec = containerKeys.some((key) => isContainerList(valueOf(node, key)));
    if (podSpec) this.#podSpec(node);
    for (const [key, value] of entriesOf(node)) {
      if (resource && (key === 'metadata' || key === 'status')) continue;
      if (podSpec && (containerKeys as readonly string[]).includes(key)) continue;
      const here = path === '' ? key : `${path}.${key}`;
      if (key === 'image') this.#imageElsewhere(value, here);
      this.walk(value, here, depth + 1);
    }
  }

  /** An `image` that is not a container's: only its operator knows whether it is one to pull, so that it is told, not taken. */
  #imageElsewhere(value: YamlNode, path: string): void {
    const text = textOf(value);
    if (text === undefined || text.length > 300 || !/^[\w.-]+(?:[/:@][\w.-]+)+$/.test(text)) return;
    this.into.note(value.line, `${path.slice(-80)} is not in a pod spec, so that ${text} was not taken`);
  }
}

/**
 * Takes every image that the pod specs of a resource name: of any kind, built in or custom, wherever a list of containers
 * stands in it (Kubernetes API, core/v1 PodSpec, Container, ImageVolumeSource).
 * @throws AirliftError `usage` where aliases expand too far
 */
export function readKubernetes(document: YamlNode, into: Collector): void {
  new Walk(into).walk(document, '', 0);
}
