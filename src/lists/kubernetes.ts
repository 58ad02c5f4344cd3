import { AirliftError } from '../errors.js';
import type { Collector } from './collector.js';
import { entriesOf, itemsOf, textOf, valueOf, type YamlMap, type YamlNode } from './yaml.js';

/** The lists of containers in a pod spec (Kubernetes API, core/v1 PodSpec). */
const containerKeys = ['initContainers', 'containers', 'ephemeralContainers'] as const;

/** Where the resources of API groups keep containers beside pod specs: lists of them, and single ones. */
const groups: readonly {
  readonly group: string;
  readonly lists: readonly string[];
  readonly single: readonly string[];
}[] = [
  // Argo Workflows: templates of Workflow, CronWorkflow, WorkflowTemplate; sources and sinks of Argo Events.
  { group: 'argoproj.io/', lists: ['sidecars'], single: ['container', 'script'] },
  // Tekton: Task, TaskRun, Pipeline, PipelineRun, StepAction.
  { group: 'tekton.dev/', lists: ['steps', 'sidecars'], single: ['stepTemplate'] },
];

/** A variable that the site fills in: Argo's `{{…}}`, Tekton's `$(…)`. */
const variable = /\{\{|\$\(/;

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
  } else if (text !== undefined && variable.test(text)) {
    into.note(
      image?.line ?? container.line,
      `container ${name}: its image, ${JSON.stringify(text.slice(0, 160))}, holds a variable; list the images that it stands for`,
    );
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

function hasImage(node: YamlNode): boolean {
  return node.kind === 'map' && textOf(valueOf(node, 'image')) !== undefined;
}

/** The images that an Argo CD Application has kustomize put in: `[OLD=]NEW[:TAG][@DIGEST]`. */
function readKustomizeImages(resource: YamlMap, into: Collector): void {
  if (textOf(valueOf(resource, 'apiVersion'))?.startsWith('argoproj.io/') !== true) return;
  const spec = valueOf(resource, 'spec');
  const template = valueOf(valueOf(spec, 'template'), 'spec');
  for (const application of [spec, template])
    for (const source of [valueOf(application, 'source'), ...itemsOf(valueOf(application, 'sources'))])
      for (const image of itemsOf(valueOf(valueOf(source, 'kustomize'), 'images'))) {
        const text = textOf(image);
        const name = text?.slice(text.indexOf('=') + 1);
        if (name === undefined) continue;
        if (/[:@][^/]+$/.test(name)) into.reference(name, image.line);
        else into.note(image.line, `${name} has no tag: the resources that it is put into name it`);
      }
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

  /** @param group the API group of the resource that the node is part of, where it keeps containers in ways of its own */
  walk(node: YamlNode, path: string, depth: number, group?: (typeof groups)[number]): void {
    this.#visit(node, depth);
    if (node.kind === 'scalar') return;
    if (node.kind === 'list') {
      for (const item of node.items) this.walk(item, path, depth + 1, group);
      return;
    }
    const resource = isKubernetes(node);
    if (resource && textOf(valueOf(node, 'kind')) === 'CustomResourceDefinition') return;
    const version = resource ? (textOf(valueOf(node, 'apiVersion')) ?? '') : undefined;
    const own = version === undefined ? group : groups.find((each) => version.startsWith(each.group));
    if (resource) readKustomizeImages(node, this.into);
    const podSpec = containerKeys.some((key) => isContainerList(valueOf(node, key)));
    if (podSpec) this.#podSpec(node);
    const isStepAction = textOf(valueOf(node, 'kind')) === 'StepAction' && own?.group === 'tekton.dev/';
    for (const [key, value] of entriesOf(node)) {
      if (resource && (key === 'metadata' || key === 'status')) continue;
      if (podSpec && (containerKeys as readonly string[]).includes(key)) continue;
      const here = path === '' ? key : `${path}.${key}`;
      if (key === 'image') this.#imageElsewhere(value, here);
      else if (own?.single.includes(key) === true && hasImage(value)) readContainer(value, this.into);
      else if (own?.lists.includes(key) === true && isContainerList(value))
        for (const step of itemsOf(value))
          if (hasImage(step)) readContainer(step, this.into);
          else this.walk(step, here, depth + 1);
      else if (isStepAction && key === 'spec' && hasImage(value)) readContainer(value, this.into);
      else this.walk(value, here, depth + 1, own);
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
